//! Every output has one owner: two queries with the same output would overwrite each other's rows.

use std::path::PathBuf;

use lake::DEAD_LETTERS;

use super::file::QueryFile;
use crate::error::Error;

/// Refuses `query` when an output of it belongs to another one of `queries`, to a table file or to
/// the landing.
pub(crate) fn check(
    query: &QueryFile,
    queries: &[QueryFile],
    table_files: &[PathBuf],
) -> Result<(), Error> {
    let output = &query.header.output;
    if let Some(table) = &output.table {
        let declares = |path: &&PathBuf| {
            path.file_stem()
                .is_some_and(|stem| stem == table.name.as_str())
        };
        let owner = if table.name == DEAD_LETTERS {
            Some("refused messages".to_owned())
        } else {
            let declaring = table_files.iter().find(declares);
            declaring.map(|path| format!("the messages that {} declares", path.display()))
        };
        if let Some(owner) = owner {
            let message = format!(
                "table \"{}\" holds {owner}; give the output of query \"{}\" another name",
                table.name, query.name
            );
            return Err(query.wrong("name", message));
        }
    }
    let others = queries.iter().filter(|other| other.name != query.name);
    for other in others {
        if let Some((key, shared)) = shared(query, other) {
            let message = format!(
                "queries \"{}\" and \"{}\" both write {shared}; give one of them another",
                query.name, other.name
            );
            return Err(query.wrong(key, message));
        }
    }
    Ok(())
}

/// An output that both queries have: the key that names it in the header, and its description.
fn shared(one: &QueryFile, other: &QueryFile) -> Option<(&'static str, String)> {
    let same_partition = one.header.partition == other.header.partition;
    one.header.output.iter().find_map(|output| {
        let mut others = other.header.output.iter();
        others.find_map(|other| output.shared_with(&other, same_partition))
    })
}
