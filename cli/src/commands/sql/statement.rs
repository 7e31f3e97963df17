//! Whether the input of the interactive shell is a whole statement.

/// The token that the end of a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LexerState {
    Nothing,
    /// A string or a quoted name, which this character ends.
    Quotes(char),
    LineComment,
    /// Block comments nest.
    BlockComment(usize),
}

/// Whether `text` ends with the `;` of a statement, or holds nothing but space and comments.
pub(super) fn is_complete(text: &str) -> bool {
    let mut state = LexerState::Nothing;
    let (mut is_empty, mut is_ended) = (true, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        match (state, c) {
            (LexerState::Nothing, '-') if next == Some('-') => state = LexerState::LineComment,
            (LexerState::Nothing, '/') if next == Some('*') => {
                rest.next();
                state = LexerState::BlockComment(1);
            }
            (LexerState::BlockComment(depth), '/') if next == Some('*') => {
                rest.next();
                state = LexerState::BlockComment(depth + 1);
            }
            (LexerState::BlockComment(depth), '*') if next == Some('/') => {
                rest.next();
                state = match depth {
                    1 => LexerState::Nothing,
                    deeper => LexerState::BlockComment(deeper - 1),
                };
            }
            (LexerState::LineComment, '\n') => state = LexerState::Nothing,
            (LexerState::Quotes(quote), c) if c == quote => state = LexerState::Nothing,
            (LexerState::Nothing, c) if c.is_whitespace() => {}
            (LexerState::Nothing, c) => {
                is_empty = false;
                is_ended = c == ';';
                if matches!(c, '\'' | '"' | '`') {
                    state = LexerState::Quotes(c);
                }
            }
            _ => {}
        }
    }
    match state {
        LexerState::Nothing | LexerState::LineComment => is_empty || is_ended,
        LexerState::Quotes(_) | LexerState::BlockComment(_) => false,
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
