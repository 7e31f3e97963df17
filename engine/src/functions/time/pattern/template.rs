//! PostgreSQL's patterns, cut into fields and texts.

use datafusion::common::{Result, exec_err};

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Field {
        field: Field,
        /// `FM`: neither blanks nor zeros fill it up.
        plain: bool,
        ordinal: Option<Case>,
    },
    /// Stands for itself; `quoted` text is skipped unread where a text is parsed.
    Text { text: String, quoted: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Capital,
    Lower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    YearWithComma,
    /// The last digits of the year, 4 for all of it.
    Year(usize),
    IsoYear(usize),
    Century,
    Era {
        case: Case,
        dots: bool,
    },
    Month,
    MonthName(Case),
    MonthShort(Case),
    MonthRoman(Case),
    Quarter,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    DayOfYear,
    IsoDayOfYear,
    Day,
    DayName(Case),
    DayShort(Case),
    DayOfWeek,
    IsoDayOfWeek,
    JulianDay,
    Hour12,
    Hour24,
    Minute,
    Second,
    SecondOfDay,
    Millisecond,
    Microsecond,
    /// So many digits of the second's fraction.
    Fraction(usize),
    HalfDay {
        case: Case,
        dots: bool,
    },
    ZoneName(Case),
    ZoneHours,
    ZoneMinutes,
    Offset,
}

use Case::{Capital, Lower, Upper};

/// What the letters mean, those that begin like others first. Numbers may also be written in lower
/// case.
const NUMBERS: &[(&str, Field)] = &[
    ("Y,YYY", Field::YearWithComma),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("IW", Field::IsoWeek),
    ("IDDD", Field::IsoDayOfYear),
    ("ID", Field::IsoDayOfWeek),
    ("I", Field::IsoYear(1)),
    ("CC", Field::Century),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("D", Field::DayOfWeek),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("J", Field::JulianDay),
    ("MI", Field::Minute),
    ("MM", Field::Month),
    ("MS", Field::Millisecond),
    ("OF", Field::Offset),
    ("Q", Field::Quarter),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("TZH", Field::ZoneHours),
    ("TZM", Field::ZoneMinutes),
    ("US", Field::Microsecond),
    ("WW", Field::WeekOfYear),
    ("W", Field::WeekOfMonth),
];

/// Words whose case says how they are printed.
const WORDS: &[(&str, Field)] = &[
    ("MONTH", Field::MonthName(Upper)),
    ("Month", Field::MonthName(Capital)),
    ("month", Field::MonthName(Lower)),
    ("MON", Field::MonthShort(Upper)),
    ("Mon", Field::MonthShort(Capital)),
    ("mon", Field::MonthShort(Lower)),
    ("DAY", Field::DayName(Upper)),
    ("Day", Field::DayName(Capital)),
    ("day", Field::DayName(Lower)),
    ("DY", Field::DayShort(Upper)),
    ("Dy", Field::DayShort(Capital)),
    ("dy", Field::DayShort(Lower)),
    ("RM", Field::MonthRoman(Upper)),
    ("rm", Field::MonthRoman(Lower)),
    (
        "A.D.",
        Field::Era {
            case: Upper,
            dots: true,
        },
    ),
    (
        "B.C.",
        Field::Era {
            case: Upper,
            dots: true,
        },
    ),
    (
        "a.d.",
        Field::Era {
            case: Lower,
            dots: true,
        },
    ),
    (
        "b.c.",
        Field::Era {
            case: Lower,
            dots: true,
        },
    ),
    (
        "AD",
        Field::Era {
            case: Upper,
            dots: false,
        },
    ),
    (
        "BC",
        Field::Era {
            case: Upper,
            dots: false,
        },
    ),
    (
        "ad",
        Field::Era {
            case: Lower,
            dots: false,
        },
    ),
    (
        "bc",
        Field::Era {
            case: Lower,
            dots: false,
        },
    ),
    (
        "A.M.",
        Field::HalfDay {
            case: Upper,
            dots: true,
        },
    ),
    (
        "P.M.",
        Field::HalfDay {
            case: Upper,
            dots: true,
        },
    ),
    (
        "a.m.",
        Field::HalfDay {
            case: Lower,
            dots: true,
        },
    ),
    (
        "p.m.",
        Field::HalfDay {
            case: Lower,
            dots: true,
        },
    ),
    (
        "AM",
        Field::HalfDay {
            case: Upper,
            dots: false,
        },
    ),
    (
        "PM",
        Field::HalfDay {
            case: Upper,
            dots: false,
        },
    ),
    (
        "am",
        Field::HalfDay {
            case: Lower,
            dots: false,
        },
    ),
    (
        "pm",
        Field::HalfDay {
            case: Lower,
            dots: false,
        },
    ),
    ("TZH", Field::ZoneHours),
    ("TZM", Field::ZoneMinutes),
    ("tzh", Field::ZoneHours),
    ("tzm", Field::ZoneMinutes),
    ("TZ", Field::ZoneName(Upper)),
    ("tz", Field::ZoneName(Lower)),
];

/// The pieces of `text`.
pub(super) fn read(function: &str, text: &str) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (quoted, after) = unquote(function, text, &rest[1..])?;
            items.push(Item::Text {
                text: quoted,
                quoted: true,
            });
            rest = after;
        } else if !first.is_ascii_alphabetic() {
            let escaped = rest.starts_with("\\\"");
            let shown = if escaped { '"' } else { first };
            push_char(&mut items, shown);
            rest = &rest[first.len_utf8() + usize::from(escaped)..];
        } else if let Some((item, after)) = field(rest) {
            items.extend(item);
            rest = after;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic());
            let unknown = &rest[..end.unwrap_or(rest.len())];
            return exec_err!(
                "{function}: \"{unknown}\" in the pattern \"{text}\" is not one of PostgreSQL's patterns; put what is to \
                 stand for itself into double quotes, as in YYYY-MM-DD\"T\"HH24:MI, or use strftime's patterns, which have %"
            );
        }
    }
    Ok(items)
}

/// Whether all of `word` is made of fields.
pub(super) fn is_template(word: &str) -> bool {
    word.len() > 1 && read("", word).is_ok()
}

/// The field at the beginning of `rest` and what follows; none where `FX` alone stands, which
/// changes nothing here.
fn field(rest: &str) -> Option<(Option<Item>, &str)> {
    let strip = |text: &'_ str, upper: &str| {
        let lower = upper.to_ascii_lowercase();
        text.starts_with(upper) || text.starts_with(&lower)
    };
    let mut after = rest;
    let mut plain = false;
    while strip(after, "FM") || strip(after, "TM") {
        (plain, after) = (true, &after[2..]);
    }
    if strip(after, "FX") && !strip(after, "FF") {
        return Some((None, &after[2..]));
    }
    let found = WORDS.iter().find(|(letters, _)| after.starts_with(letters));
    let found = found.or_else(|| NUMBERS.iter().find(|(letters, _)| strip(after, letters)));
    let &(letters, field) = found?;
    after = &after[letters.len()..];
    let ordinal = match after.get(..2) {
        Some("TH") => Some(Upper),
        Some("th") => Some(Lower),
        _ => None,
    };
    if ordinal.is_some() {
        after = &after[2..];
    }
    Some((
        Some(Item::Field {
            field,
            plain,
            ordinal,
        }),
        after,
    ))
}

/// What stands in the quotes that begin before `rest`, and what follows them.
fn unquote<'a>(function: &str, text: &str, rest: &'a str) -> Result<(String, &'a str)> {
    let mut quoted = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((quoted, &rest[at + 1..])),
            '\\' => quoted.extend(characters.next().map(|(_, escaped)| escaped)),
            other => quoted.push(other),
        }
    }
    exec_err!("{function}: a double quote in the pattern \"{text}\" is not closed")
}

fn push_char(items: &mut Vec<Item>, character: char) {
    if let Some(Item::Text {
        text,
        quoted: false,
    }) = items.last_mut()
    {
        text.push(character);
    } else {
        items.push(Item::Text {
            text: character.to_string(),
            quoted: false,
        });
    }
}
