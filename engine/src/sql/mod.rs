//! Parses SQL text to statements, within limits. Every error has its position in the text.

mod budget;
mod calls;
mod capitals;
pub(crate) mod names;
mod numbers;
mod precedence;
pub(crate) mod recursion;
mod refusals;
mod rows;
mod similar;
mod spellings;
pub(crate) mod time;
mod windows;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{self, Value, ValueWithSpan, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, Tokenizer};

use crate::error::Error;
use crate::source_position::SourcePosition;

/// Limit of one text in bytes. Planning recurses, so the texts of clients are bounded.
pub const TEXT_MAX: usize = 256 << 10;
/// Most tokens of one text.
const TOKENS_MAX: usize = 20_000;
/// Most operators of one text: a chain of `+` nests as deep as it is long.
const OPERATORS_MAX: usize = 1_000;
/// Deepest nesting of brackets and subqueries, as the parser counts it.
const DEPTH_MAX: usize = 50;

/// One parsed statement, with the text it came from.
#[derive(Clone, Debug)]
pub struct Statement {
    source: Arc<Source>,
    parsed: Parsed,
}

/// A text and its origin: the path of a file, or another name.
#[derive(Debug)]
struct Source {
    origin: String,
    text: String,
}

impl Statement {
    pub fn text(&self) -> String {
        self.parsed.to_string()
    }

    /// Names of its parameters: `dt` for `$dt`.
    pub fn parameters(&self) -> BTreeSet<String> {
        struct Parameters(BTreeSet<String>);
        impl Visitor for Parameters {
            type Break = Infallible;
            fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<Infallible> {
                if let Value::Placeholder(name) = &value.value {
                    self.0.insert(name.trim_start_matches('$').to_owned());
                }
                ControlFlow::Continue(())
            }
        }
        let mut found = Parameters(BTreeSet::new());
        if let Some(ast) = statement_of(&self.parsed) {
            let ControlFlow::Continue(()) = ast.visit(&mut found);
        }
        found.0
    }

    /// Fails when planning the statement would cost too much.
    pub(crate) fn check_budget(&self) -> Result<(), Error> {
        budget::check(&self.parsed)
    }

    pub(crate) fn parsed(&self) -> Parsed {
        self.parsed.clone()
    }

    /// The statement as the planner is to read it.
    ///
    /// # Errors
    /// When it uses what is [refused by name](refusals).
    pub(crate) fn prepared(&self) -> Result<Parsed, Error> {
        let mut prepared = self.parsed.clone();
        if let Some(ast) = statement_in(&mut prepared) {
            time::rewrite(ast);
            numbers::rewrite(ast);
            refusals::check(ast)
                .and_then(|()| windows::rewrite(ast))
                .and_then(|()| spellings::rewrite(ast))
                .map_err(|(message, span)| self.refused(message, span))?;
            recursion::mark_steps(ast);
        }
        Ok(prepared)
    }

    /// An error at `span`.
    pub(crate) fn refused(&self, message: String, span: Span) -> Error {
        let number = |number: u64| usize::try_from(number).unwrap_or(1).max(1);
        Error::Syntax {
            message,
            position: position(
                &self.source,
                number(span.start.line),
                number(span.start.column),
            ),
        }
    }

    /// Whether it uses `current_date`, which is the day in UTC and not that of `time.zone`.
    pub fn asks_for_current_date(&self) -> bool {
        time::asks_for_current_date(&self.parsed)
    }

    /// Whether planning it needs the names of all tables.
    pub(crate) fn lists_tables(&self) -> bool {
        let text = self.source.text.to_ascii_lowercase();
        text.contains("show") || text.contains("information_schema") || text.contains("describe")
    }

    /// The first word or two, for messages: `INSERT`, `CREATE TABLE`.
    pub(crate) fn kind(&self) -> String {
        match &self.parsed {
            Parsed::CopyTo(_) => "COPY".to_owned(),
            Parsed::CreateExternalTable(_) => "CREATE EXTERNAL TABLE".to_owned(),
            Parsed::Reset(_) => "RESET".to_owned(),
            other => {
                let text = other.to_string();
                text.split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_uppercase()
            }
        }
    }
}

/// The statement that `parsed` is or explains; `None` for what only DataFusion's own parser knows,
/// such as COPY.
fn statement_of(parsed: &Parsed) -> Option<&ast::Statement> {
    match parsed {
        Parsed::Statement(statement) => Some(statement),
        Parsed::Explain(explain) => statement_of(&explain.statement),
        Parsed::CreateExternalTable(_) | Parsed::CopyTo(_) | Parsed::Reset(_) => None,
    }
}

/// [`statement_of`], to be rewritten.
fn statement_in(parsed: &mut Parsed) -> Option<&mut ast::Statement> {
    match parsed {
        Parsed::Statement(statement) => Some(statement),
        Parsed::Explain(explain) => statement_in(&mut explain.statement),
        Parsed::CreateExternalTable(_) | Parsed::CopyTo(_) | Parsed::Reset(_) => None,
    }
}

/// The statements of `text`, which came from `origin`.
///
/// # Errors
/// When it is too long, nests too deep or is not SQL. A version clause (`VERSION AS OF`) is not SQL
/// here, and so is never ignored.
pub fn parse(text: &str, origin: &str) -> Result<Vec<Statement>, Error> {
    // Editors of Windows begin a text with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Arc::new(Source {
        origin: origin.to_owned(),
        text: text.to_owned(),
    });
    check_size(&source)?;
    let dialect = GenericDialect {};
    let parsed = DFParserBuilder::new(text)
        .with_dialect(&dialect)
        .with_recursion_limit(DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| parse_failed(&source, &error))?;
    parsed
        .into_iter()
        .map(|parsed| {
            Ok(Statement {
                source: Arc::clone(&source),
                parsed,
            })
        })
        .collect()
}

/// The only statement of `text`.
pub fn parse_one(text: &str, origin: &str) -> Result<Statement, Error> {
    let mut statements = parse(text, origin)?;
    match (statements.pop(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (last, more) => Err(Error::StatementCount {
            origin: origin.to_owned(),
            found: more + usize::from(last.is_some()),
        }),
    }
}

fn check_size(source: &Source) -> Result<(), Error> {
    let too_large = |what, found, limit| {
        Err(Error::StatementTooLarge {
            origin: source.origin.clone(),
            what,
            found,
            limit,
        })
    };
    if source.text.len() > TEXT_MAX {
        return too_large("bytes", source.text.len(), TEXT_MAX);
    }
    let tokens = Tokenizer::new(&GenericDialect {}, &source.text)
        .tokenize()
        .map_err(|error| syntax_error(source, &error.to_string()))?;
    let significant = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .count();
    if significant > TOKENS_MAX {
        return too_large("tokens", significant, TOKENS_MAX);
    }
    let operators = tokens.iter().filter(|token| is_operator(token)).count();
    if operators > OPERATORS_MAX {
        return too_large("operators", operators, OPERATORS_MAX);
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.value.to_ascii_uppercase().as_str(),
            "AND"
                | "OR"
                | "NOT"
                | "IS"
                | "IN"
                | "BETWEEN"
                | "LIKE"
                | "ILIKE"
                | "SIMILAR"
                | "AT"
                | "COLLATE"
                | "XOR"
                | "DIV"
                | "UNION"
                | "INTERSECT"
                | "EXCEPT"
                | "JOIN"
        ),
        Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::RBracket
        | Token::SemiColon
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Placeholder(_)
        | Token::EOF => false,
        _ => true,
    }
}

fn parse_failed(source: &Source, error: &DataFusionError) -> Error {
    match error {
        DataFusionError::SQL(cause, _) if **cause == ParserError::RecursionLimitExceeded => {
            Error::StatementTooDeep {
                origin: source.origin.clone(),
                limit: DEPTH_MAX,
            }
        }
        other => syntax_error(source, &other.to_string()),
    }
}

/// Takes the position from the text of a parser error: `… at Line: 1, Column: 8`.
fn syntax_error(source: &Source, text: &str) -> Error {
    let message = text
        .trim_start_matches("SQL error: ")
        .trim_start_matches("ParserError(\"")
        .trim_start_matches("TokenizerError(\"")
        .trim_end_matches("\")");
    let number = |after: &str| {
        let rest = &message[message.rfind(after)? + after.len()..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse::<usize>().ok()
    };
    let position = number("Line: ")
        .zip(number("Column: "))
        .map(|(line, column)| position(source, line, column));
    let message = match message.rfind(" at Line: ") {
        Some(end) if position.is_some() => &message[..end],
        _ => message,
    };
    Error::Syntax {
        message: message.to_owned(),
        position: position.unwrap_or_else(|| self::position(source, 1, 1)),
    }
}

/// An error of the planner, with its position in the text when the planner knows it.
pub(crate) fn plan_failed(statement: &Statement, error: DataFusionError) -> Error {
    let Some(diagnostic) = error.diagnostic() else {
        return Error::plan(error);
    };
    let Some(span) = diagnostic.span else {
        return Error::plan(error);
    };
    let notes = diagnostic.helps.iter().map(|help| help.message.as_str());
    let position = position(
        &statement.source,
        usize::try_from(span.start.line).unwrap_or(1),
        usize::try_from(span.start.column).unwrap_or(1),
    );
    let quoted = capitals::quoted(&error);
    let notes: Vec<_> = quoted.as_deref().into_iter().chain(notes).collect();
    Error::Syntax {
        message: if notes.is_empty() {
            diagnostic.message.clone()
        } else {
            format!("{} ({})", diagnostic.message, notes.join("; "))
        },
        position,
    }
}

fn position(source: &Source, line: usize, column: usize) -> SourcePosition {
    let text = source.text.lines().nth(line.saturating_sub(1));
    SourcePosition {
        origin: source.origin.clone(),
        line,
        column,
        text: text.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, parse};

    fn error_of(text: &str) -> String {
        parse(text, "text").expect_err("it is wrong").to_string()
    }

    #[test]
    fn syntax_error_has_its_position() {
        let Error::Syntax { position, .. } =
            parse("SELECT 1;\nSELEC 2", "q.sql").expect_err("typo")
        else {
            panic!("not a syntax error");
        };
        assert_eq!(
            (position.origin.as_str(), position.line, position.column),
            ("q.sql", 2, 1)
        );
        assert_eq!(position.text, "SELEC 2");
    }

    #[test]
    fn text_is_bounded_in_bytes_tokens_and_operators() {
        let chain = |operators: usize| format!("SELECT 1{}", "+1".repeat(operators));
        assert!(parse(&chain(900), "text").is_ok());
        assert!(error_of(&chain(9_000)).contains("operators"));
        assert!(error_of(&chain(100_000)).contains("tokens"));
        assert!(error_of(&format!("SELECT 1{}", " IS NULL".repeat(9_000))).contains("operators"));
        assert!(error_of(&format!("SELECT x{}", "[1]".repeat(6_000))).contains("operators"));
        assert!(error_of(&format!("SELECT '{}'", "x".repeat(300_000))).contains("bytes"));
        assert!(error_of(&format!("SELECT {}1", "1,".repeat(30_000))).contains("tokens"));
    }

    #[test]
    fn error_for_deep_nesting_names_limit_and_remedy() {
        let brackets =
            |levels: usize| format!("SELECT {}1{}", "(".repeat(levels), ")".repeat(levels));
        let subqueries = |levels: usize| {
            let open = "SELECT * FROM (".repeat(levels);
            format!("{open}SELECT 1{}", ")".repeat(levels))
        };
        for fine in [brackets(40), subqueries(10)] {
            assert!(parse(&fine, "text").is_ok(), "{fine}");
        }
        for deep in [brackets(900), subqueries(100)] {
            let found = error_of(&deep);
            assert!(
                found.starts_with("text nests") && found.contains("50") && found.contains("WITH"),
                "{found}"
            );
        }
    }

    #[test]
    fn a_version_clause_is_not_ignored() {
        assert!(parse("SELECT * FROM weather", "text").is_ok());
        for clause in [
            "VERSION AS OF 0",
            "TIMESTAMP AS OF '2026-01-01'",
            "FOR SYSTEM_TIME AS OF '2026-01-01'",
        ] {
            let text = format!("SELECT * FROM (SELECT * FROM weather {clause})");
            assert!(parse(&text, "text").is_err(), "{clause}");
        }
    }
}
