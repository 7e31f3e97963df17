//! `SIMILAR TO`: a pattern of SQL's own between LIKE and a regular expression, for the whole text.
//!
//! DataFusion takes the pattern for a regular expression that a part of the text has to match.

use datafusion::sql::sqlparser::ast::{Expr, Spanned as _, Value, ValueWithSpan};

use super::refusals::Refusal;

/// The regular expression for `pattern`, which must be a literal.
pub(super) fn regex(pattern: &Expr, escape: Option<&ValueWithSpan>) -> Result<Expr, Refusal> {
    let refused = |text: &str| (text.to_owned(), pattern.span());
    let Some(text) = literal(pattern) else {
        return Err(refused(
            "SIMILAR TO takes a literal pattern here; write `x ~ pattern` for a regular expression in a column",
        ));
    };
    let escape = match escape.map(|escape| &escape.value) {
        None => Some('\\'),
        Some(Value::SingleQuotedString(escape)) if escape.chars().count() < 2 => {
            escape.chars().next()
        }
        Some(_) => return Err(refused("ESCAPE takes one character")),
    };
    let regex = translated(text, escape);
    Ok(Expr::Value(Value::SingleQuotedString(regex).into()))
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

fn translated(pattern: &str, escape: Option<char>) -> String {
    let mut regex = String::from("(?s)^(?:");
    let mut in_class = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            escaped if Some(escaped) == escape => {
                if let Some(next) = characters.next() {
                    literally(next, &mut regex);
                }
            }
            '%' if !in_class => regex.push_str(".*"),
            '_' if !in_class => regex.push('.'),
            '[' | ']' => {
                in_class = character == '[';
                regex.push(character);
            }
            '|' | '*' | '+' | '?' | '(' | ')' | '{' | '}' | '^' | '-' if in_class => {
                regex.push(character);
            }
            '|' | '*' | '+' | '?' | '(' | ')' | '{' | '}' => regex.push(character),
            other => literally(other, &mut regex),
        }
    }
    regex.push_str(")$");
    regex
}

fn literally(character: char, regex: &mut String) {
    if r"\.+*?()|[]{}^$#&-~".contains(character) {
        regex.push('\\');
    }
    regex.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let check = |pattern: &str, regex: &str| {
            assert_eq!(
                translated(pattern, Some('\\')),
                format!("(?s)^(?:{regex})$")
            );
        };
        check("a%", "a.*");
        check("a.c", r"a\.c");
        check("(a|b)_+", "(a|b).+");
        check("[%^a-c]x", "[%^a-c]x");
        check(r"50\%", "50%");
    }
}
