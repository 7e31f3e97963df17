//! Whether what a person has typed so far is a whole statement.

/// What the end of a text is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// A text or a quoted name, which this character ends.
    Quotes(char),
    LineComment,
    /// Block comments nest.
    BlockComment(usize),
}

/// Whether `text` ends with the `;` of a statement, or holds nothing but space and comments.
pub(super) fn is_complete(text: &str) -> bool {
    let mut inside = Inside::Nothing;
    let (mut is_empty, mut is_ended) = (true, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        match (inside, c) {
            (Inside::Nothing, '-') if next == Some('-') => inside = Inside::LineComment,
            (Inside::Nothing, '/') if next == Some('*') => {
                rest.next();
                inside = Inside::BlockComment(1);
            }
            (Inside::BlockComment(depth), '/') if next == Some('*') => {
                rest.next();
                inside = Inside::BlockComment(depth + 1);
            }
            (Inside::BlockComment(depth), '*') if next == Some('/') => {
                rest.next();
                inside = match depth {
                    1 => Inside::Nothing,
                    deeper => Inside::BlockComment(deeper - 1),
                };
            }
            (Inside::LineComment, '\n') => inside = Inside::Nothing,
            (Inside::Quotes(quote), c) if c == quote => inside = Inside::Nothing,
            (Inside::Nothing, c) if c.is_whitespace() => {}
            (Inside::Nothing, c) => {
                is_empty = false;
                is_ended = c == ';';
                if matches!(c, '\'' | '"' | '`') {
                    inside = Inside::Quotes(c);
                }
            }
            _ => {}
        }
    }
    match inside {
        Inside::Nothing | Inside::LineComment => is_empty || is_ended,
        Inside::Quotes(_) | Inside::BlockComment(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn a_statement_ends_with_a_semicolon_outside_of_quotes_and_comments() {
        for text in [
            "",
            "  \n",
            "-- nothing",
            "SELECT 1;",
            "SELECT 1; ",
            "SELECT 1; -- why",
            "SELECT 1; /* why */",
            "SELECT 1; SELECT 2;",
            "SELECT ';';",
            "SELECT 'it''s';",
            "SELECT /* /* ; */ ; */ 1;",
        ] {
            assert!(is_complete(text), "{text}");
        }
        for text in [
            "SELECT 1",
            "SELECT 1; SELECT 2",
            "SELECT ';",
            "SELECT \"a;",
            "SELECT 1 -- ;",
            "SELECT 1 /* ; */",
            "SELECT 1; /* open",
            "SELECT 'it''s;",
            "/* /* */ ;",
        ] {
            assert!(!is_complete(text), "{text}");
        }
    }
}
