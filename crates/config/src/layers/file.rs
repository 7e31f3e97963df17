//! The TOML file: which line sets which key.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::Layers;
use crate::error::Problem;
use crate::keys::{Key, SECTIONS};
use crate::origin::Origin;
use crate::suggest;
use crate::value::Raw;

/// Offers every value of a TOML file to the layers, and names what cannot be one.
pub(crate) fn read(path: &Path, text: &str, layers: &mut Layers) {
    match DeTable::parse(text) {
        Ok(table) => File { path, text }.sections(table.into_inner(), layers),
        Err(error) => {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            layers.problems.push(Problem::Syntax {
                path: path.to_owned(),
                line,
                column,
                message: error.message().to_owned(),
            });
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn sections(&self, table: DeTable<'_>, layers: &mut Layers) {
        for (name, value) in in_order(table) {
            let known = SECTIONS
                .iter()
                .any(|(section, _)| *section == name.get_ref());
            let origin = self.origin(&name);
            let name = name.into_inner().into_owned();
            let problem = match value.into_inner() {
                DeValue::Table(section) if known => {
                    self.section(&name, section, layers);
                    continue;
                }
                DeValue::Table(_) => Problem::UnknownSection {
                    origin,
                    hint: suggest::section(&name),
                    section: name,
                },
                _ if known => Problem::NotASection { origin, name },
                _ => Problem::UnknownKey {
                    origin,
                    hint: suggest::key(&name),
                    key: name,
                },
            };
            layers.problems.push(problem);
        }
    }

    fn section(&self, section: &str, table: DeTable<'_>, layers: &mut Layers) {
        for (leaf, value) in in_order(table) {
            let origin = self.origin(&leaf);
            let name = format!("{section}.{}", leaf.get_ref());
            let Some(key) = Key::named(&name) else {
                let hint = suggest::key(&name);
                layers.problems.push(Problem::UnknownKey {
                    origin,
                    key: name,
                    hint,
                });
                continue;
            };
            let written = &self.text[value.span()];
            layers.offer(
                key,
                Raw::Toml {
                    value: value.get_ref(),
                    written,
                },
                origin,
            );
        }
    }

    fn origin<T>(&self, part: &Spanned<T>) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: position(self.text, part.span().start).0,
        }
    }
}

/// The entries of a table as they stand in the file, so that problems come in that order.
fn in_order(table: DeTable<'_>) -> Vec<(Spanned<DeString<'_>>, Spanned<DeValue<'_>>)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// Line and column of a byte, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
