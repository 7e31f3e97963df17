//! Numbers: the grammar of RFC 8259, correctly rounded doubles, and exact integers.

use std::iter;

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

const POWERS: [u64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// Every integer up to this one is exact as a double.
const EXACT_MANTISSA_MAX: u64 = 1 << 53;

/// Every number with this many digits fits into a `u64`.
const MANTISSA_DIGITS_MAX: usize = 19;

/// More significant digits than the value halfway between two neighbouring doubles can have (767).
const DECIDING_DIGITS_MAX: usize = 800;

/// The standard library caps an exponent at about 65,000. Only a number longer than this could
/// bring so large an exponent back into the range of a double.
const PLAIN_BYTES_MAX: usize = 10_000;

/// A grammatical number, with what the scan found out about its value.
pub(super) struct Number<'m> {
    text: &'m str,
    negative: bool,
    /// All digits before the exponent as one integer. Invalid beyond [`MANTISSA_DIGITS_MAX`]
    /// digits.
    mantissa: u64,
    digits: usize,
    /// The power of ten by which the mantissa is multiplied.
    scale: i64,
}

impl<'m> Number<'m> {
    /// Reads the number at `from`. Returns its end, or, as an error, the offset of the first byte
    /// that breaks the grammar.
    #[inline(always)]
    pub(super) fn read(message: &'m str, from: usize) -> Result<(Self, usize), usize> {
        let bytes = message.as_bytes();
        let negative = bytes.get(from) == Some(&b'-');
        let whole = from + usize::from(negative);
        let (mut mantissa, mut at) = digits(bytes, whole, 0);
        let mut digits_read = at - whole;
        if digits_read == 0 || (digits_read > 1 && bytes[whole] == b'0') {
            return Err(whole);
        }
        let mut scale = 0;
        if bytes.get(at) == Some(&b'.') {
            let fraction = at + 1;
            (mantissa, at) = digits(bytes, fraction, mantissa);
            if at == fraction {
                return Err(at);
            }
            digits_read += at - fraction;
            scale = -((at - fraction) as i64);
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let (exponent, end) = exponent(bytes, at + 1)?;
            scale += exponent;
            at = end;
        }
        let number = Self {
            text: &message[from..at],
            negative,
            mantissa,
            digits: digits_read,
            scale,
        };
        Ok((number, at))
    }

    /// The nearest double; none on overflow, and on underflow to zero.
    #[inline(always)]
    pub(super) fn double(&self) -> Option<f64> {
        if self.digits <= MANTISSA_DIGITS_MAX && self.mantissa <= EXACT_MANTISSA_MAX {
            // Both operands are exact, so the one rounding of the operation is the correct one.
            let mantissa = self.mantissa as f64;
            let magnitude = match usize::try_from(self.scale.unsigned_abs())
                .map(|power| EXACT_POWERS.get(power))
            {
                Ok(Some(power)) if self.scale < 0 => mantissa / power,
                Ok(Some(power)) => mantissa * power,
                _ => return self.parsed(),
            };
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        self.parsed()
    }

    /// Whether [`Self::double`] returns a value. Checks numbers that no table reads.
    #[inline(always)]
    pub(super) fn fits_double(&self) -> bool {
        let plainly = self.digits <= MANTISSA_DIGITS_MAX && (-300..=280).contains(&self.scale);
        plainly || self.parsed().is_some()
    }

    /// The value, if it is a 64-bit integer in any notation: `4`, `4.0` and `0.4e1` are equal.
    #[inline(always)]
    pub(super) fn bigint(&self) -> Option<i64> {
        if self.scale == 0 && self.digits < MANTISSA_DIGITS_MAX {
            let magnitude = self.mantissa as i64;
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        Decimal::of(self.text).bigint()
    }

    #[cold]
    fn parsed(&self) -> Option<f64> {
        let double: f64 = if self.text.len() <= PLAIN_BYTES_MAX {
            self.text.parse()
        } else {
            Decimal::of(self.text).plain().parse()
        }
        .expect("what follows the grammar of JSON numbers parses");
        let vanished = double == 0.0 && !Decimal::of(self.text).digits.is_empty();
        (double.is_finite() && !vanished).then_some(double)
    }
}

/// Appends the digits from `at` on to `mantissa`, eight at a time and without a branch for each.
/// Returns their end.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut mantissa: u64) -> (u64, usize) {
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        // Digits become 0 to 9. The first other byte gets a value with a bit set in its high half.
        let word = u64::from_le_bytes(*chunk) ^ 0x3030_3030_3030_3030;
        let above = (word & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676;
        let others = (above | word) & 0x8080_8080_8080_8080;
        let count = (others.trailing_zeros() / 8) as usize;
        if count == 0 {
            return (mantissa, at);
        }
        // Right-aligns the digits; the bytes before the first one are zeros.
        let value = eight_digits(word << (64 - 8 * count));
        mantissa = mantissa.wrapping_mul(POWERS[count]).wrapping_add(value);
        at += count;
        if count < 8 {
            return (mantissa, at);
        }
    }
    while let Some(digit @ 0..=9) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (mantissa, at)
}

/// The value of eight digits, one in each byte, the first one lowest. Combines pairs, then fours,
/// then all.
#[inline(always)]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

/// Reads the exponent behind the `e`, and returns its end. The value saturates beyond what any
/// number of digits could compensate.
fn exponent(bytes: &[u8], mut at: usize) -> Result<(i64, usize), usize> {
    let negative = bytes.get(at) == Some(&b'-');
    if negative || bytes.get(at) == Some(&b'+') {
        at += 1;
    }
    let from = at;
    let mut exponent = 0_i64;
    while let Some(digit @ 0..=9) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')) {
        if exponent < i64::MAX / 100 {
            exponent = exponent * 10 + i64::from(digit);
        }
        at += 1;
    }
    if at == from {
        return Err(at);
    }
    Ok((if negative { -exponent } else { exponent }, at))
}

/// The exact value of a number of any length: `±digits × 10^scale`. The digits neither begin nor
/// end with a zero.
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    scale: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (significand, power) = match text.find(['e', 'E']) {
            Some(at) => {
                let (power, _) =
                    exponent(text.as_bytes(), at + 1).expect("the number follows the grammar");
                (&text[..at], power)
            }
            None => (text, 0),
        };
        let fraction = significand
            .find('.')
            .map_or(0, |point| significand.len() - point - 1);
        let mut digits: Vec<u8> = significand
            .bytes()
            .filter(u8::is_ascii_digit)
            .skip_while(|&digit| digit == b'0')
            .collect();
        let trailing = digits
            .iter()
            .rev()
            .take_while(|&&digit| digit == b'0')
            .count();
        digits.truncate(digits.len() - trailing);
        Self {
            negative: text.starts_with('-'),
            scale: power - fraction as i64 + trailing as i64,
            digits,
        }
    }

    fn bigint(&self) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let zeros = usize::try_from(self.scale).ok()?;
        if self.digits.len().saturating_add(zeros) > MANTISSA_DIGITS_MAX {
            return None;
        }
        let magnitude = self
            .digits
            .iter()
            .chain(iter::repeat_n(&b'0', zeros))
            .fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    /// A shorter notation, with a small exponent, that rounds to the same double.
    fn plain(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let kept = self.digits.len().min(DECIDING_DIGITS_MAX);
        let dropped = self.digits.len() - kept;
        // The dropped digits are not all zero: a final 1 keeps the number above a halfway point.
        let sticky = if dropped > 0 { "1" } else { "" };
        let scale = self.scale + dropped as i64 - sticky.len() as i64;
        let digits = if kept == 0 {
            "0".into()
        } else {
            String::from_utf8_lossy(&self.digits[..kept])
        };
        format!("{sign}{digits}{sticky}e{}", scale.clamp(-50_000, 50_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number<'_> {
        let (number, end) = Number::read(text, 0).expect("the case follows the grammar");
        assert_eq!(end, text.len(), "{text}");
        number
    }

    #[test]
    fn number_follows_grammar_of_rfc_8259() {
        let check = |text: &str, expected: Result<usize, usize>| {
            assert_eq!(
                Number::read(text, 0).map(|(_, end)| end),
                expected,
                "{text}"
            );
            // Bytes behind the number do not matter, also near the end of the message.
            let followed = format!("{text}, 123456789");
            assert_eq!(
                Number::read(&followed, 0).map(|(_, end)| end),
                expected,
                "{followed}"
            );
        };
        for text in [
            "0",
            "-0",
            "12345678",
            "123456789012345678901234567890",
            "1.5",
            "1.5e5",
            "1E-05",
            "0.0e+0",
        ] {
            check(text, Ok(text.len()));
        }
        check("", Err(0));
        check("-", Err(1));
        check("01", Err(0));
        check("-00", Err(1));
        check("1.", Err(2));
        check("1.e1", Err(2));
        check("1e", Err(2));
        check("1e-", Err(3));
        check("1/", Ok(1));
        check("1:", Ok(1));
        check("1\u{b1}", Ok(1));
    }

    /// The oracle for numbers of ordinary length is the standard library, which rounds correctly.
    #[test]
    fn double_is_the_nearest_one() {
        let check = |text: &str| {
            let expected: f64 = text.parse().expect("the case is a number");
            let found = number(text).double().expect("the case is in range");
            assert_eq!(found.to_bits(), expected.to_bits(), "{text}");
            assert!(number(text).fits_double(), "{text}");
        };
        for text in [
            "0",
            "-0",
            "0.1",
            "-0.3",
            "1e22",
            "1e23",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.0",
            "123456789012345678e-22",
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "5e-324",
            "4.9e-324",
            "0.000000000000000000000001",
            "100000000000000000000000000000",
            "8.98846567431158e307",
            "1e-22",
            "1e-23",
            "3.14159265358979323846264338327950288",
            "-22.2463",
            "166.4072",
            "1768431100",
            "0e400",
            "-0.0e-400",
        ] {
            check(text);
        }
        let mut state = 1_u64;
        for _ in 0..50_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (digits, places, power) = (state >> (state % 60), state % 25, (state >> 32) % 600);
            check(&format!("{digits}"));
            check(&format!(
                "{}.{:0width$}",
                digits % 1000,
                digits >> 20,
                width = places as usize + 1
            ));
            let text = format!("-{}.{}e{}", digits % 10, digits >> 10, power as i64 - 300);
            check(&text);
        }
    }

    #[test]
    fn double_out_of_range_is_none() {
        for text in [
            "1e309",
            "-1e309",
            "2e308",
            "1e-400",
            "2e-324",
            "-1e-99999999999999999999",
        ] {
            assert_eq!(number(text).double(), None, "{text}");
            assert!(!number(text).fits_double(), "{text}");
        }
    }

    /// Numbers of any length keep their value, also where the standard library caps the exponent.
    #[test]
    fn long_number_keeps_its_value() {
        let zeros = "0".repeat(100_000);
        let nines = "9".repeat(100_000);
        let check = |text: &str, expected: Option<f64>, integer: Option<i64>| {
            assert_eq!(number(text).double(), expected, "{}…", &text[..20]);
            assert_eq!(number(text).bigint(), integer, "{}…", &text[..20]);
        };
        check(&format!("12{zeros}e-100001"), Some(1.2), None);
        check(&format!("-12{zeros}e-100000"), Some(-12.0), Some(-12));
        check(&format!("0.{zeros}7e100001"), Some(7.0), Some(7));
        check(&format!("0.{zeros}"), Some(0.0), Some(0));
        check(&format!("0.{nines}"), Some(1.0), None);
        check(&nines, None, None);
        check(&format!("0.{zeros}1"), None, None);
        // A halfway value rounds to even, and anything above it rounds up.
        check(
            &format!("9007199254740993.{zeros}"),
            Some(9_007_199_254_740_992.0),
            Some(9_007_199_254_740_993),
        );
        check(
            &format!("9007199254740993.{zeros}1"),
            Some(9_007_199_254_740_994.0),
            None,
        );
    }
}
