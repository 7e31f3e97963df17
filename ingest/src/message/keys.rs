//! Undeclared keys of open objects, kept only to find duplicates.

use super::refusal::{DecodeError, Reason};
use super::scan::{Raw, STRING_BYTES_MAX, Scanner};

/// Objects with up to this many undeclared keys are checked by comparing all pairs, larger ones by
/// sorting.
const PAIRWISE_MAX: usize = 16;

/// Capacity that is kept between messages, in keys. The memory of a larger message is freed.
const KEPT_MAX: usize = 4096;

/// A stack of the undeclared keys of all open objects, those of the innermost last.
#[derive(Debug, Default)]
pub(super) struct Undeclared {
    keys: Vec<Key>,
    /// Concatenated texts of the keys with escapes.
    resolved: Vec<u8>,
}

/// The stack height at which the keys of an object begin.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    keys: usize,
    resolved: usize,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    fingerprint: u64,
    /// Offset of the key in the message.
    at: usize,
    from: usize,
    to: usize,
    escaped: bool,
}

/// A hash that is cheap and not collision-proof: equal fingerprints need a comparison of the keys.
#[inline]
pub(super) fn fingerprint(key: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let (head, tail) = match (key.first_chunk(), key.last_chunk()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (
            key.iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte)),
            0,
        ),
    };
    (head ^ (tail.rotate_left(23)).wrapping_mul(MIX) ^ key.len() as u64).wrapping_mul(MIX)
}

/// The bytes of a declared name in a message, from behind its opening quote to its closing quote.
#[derive(Debug)]
pub(super) struct Spelling {
    text: Vec<u8>,
    /// The first bytes of the text, and a mask of those that belong to it. Most names are compared
    /// by these alone.
    head: u128,
    mask: u128,
}

impl Spelling {
    pub(super) fn new(name: &str) -> Self {
        let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
        let text = if name.len() <= STRING_BYTES_MAX && name.as_bytes().iter().all(plain) {
            format!("{name}\"").into_bytes()
        } else {
            // A message always escapes such a name. No message has this byte, so the spelling never
            // matches, and the name is found by its resolved text.
            vec![0xff]
        };
        let (mut head, mut mask) = ([0; 16], [0; 16]);
        for ((head, mask), byte) in head.iter_mut().zip(&mut mask).zip(&text) {
            (*head, *mask) = (*byte, 0xff);
        }
        Self {
            text,
            head: u128::from_le_bytes(head),
            mask: u128::from_le_bytes(mask),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    #[inline(always)]
    pub(super) fn begins(&self, rest: &[u8]) -> bool {
        match rest.first_chunk() {
            Some(head) if self.text.len() <= 16 => {
                (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0
            }
            _ => rest.starts_with(&self.text),
        }
    }
}

impl Undeclared {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            keys: self.keys.len(),
            resolved: self.resolved.len(),
        }
    }

    /// Pushes a key. Its resolved text is kept only if it has escapes.
    #[inline]
    pub(super) fn push(&mut self, key: Raw, text: &[u8], fingerprint: u64) {
        let (mut from, mut to) = (key.from, key.to);
        if key.escaped {
            from = self.resolved.len();
            self.resolved.extend_from_slice(text);
            to = self.resolved.len();
        }
        self.keys.push(Key {
            fingerprint,
            at: key.from,
            from,
            to,
            escaped: key.escaped,
        });
    }

    /// Pops the keys of the object that ends here. Refuses the object if two of them are equal.
    #[inline]
    pub(super) fn close(
        &mut self,
        mark: Mark,
        scanner: &Scanner<'_>,
    ) -> Result<(), Box<DecodeError>> {
        let repeated = match self.keys.len() - mark.keys {
            0 | 1 => None,
            2..=PAIRWISE_MAX => self.repeated_pairwise(mark, scanner.bytes()),
            _ => self.repeated_sorted(mark, scanner.bytes()),
        };
        if let Some(key) = repeated {
            let name = self.text(&key, scanner.bytes());
            return Err(duplicate(key.at).in_field(name));
        }
        self.forget(mark);
        Ok(())
    }

    /// Pops the keys of all objects, which a refusal may have left open.
    pub(super) fn clear(&mut self) {
        self.forget(Mark {
            keys: 0,
            resolved: 0,
        });
        self.keys.shrink_to(KEPT_MAX);
        self.resolved.shrink_to(KEPT_MAX);
    }

    fn forget(&mut self, mark: Mark) {
        self.keys.truncate(mark.keys);
        self.resolved.truncate(mark.resolved);
    }

    fn repeated_pairwise(&self, mark: Mark, message: &[u8]) -> Option<Key> {
        let keys = &self.keys[mark.keys..];
        for (index, key) in keys.iter().enumerate() {
            for earlier in &keys[..index] {
                if earlier.fingerprint == key.fingerprint
                    && self.text(earlier, message) == self.text(key, message)
                {
                    return Some(*key);
                }
            }
        }
        None
    }

    /// Sorting bounds the cost for an object with very many keys, or with keys of one fingerprint.
    /// A hash table would need a secret seed to resist the latter.
    fn repeated_sorted(&mut self, mark: Mark, message: &[u8]) -> Option<Key> {
        let mut keys = self.keys.split_off(mark.keys);
        keys.sort_unstable_by(|one, other| {
            let fingerprints = one.fingerprint.cmp(&other.fingerprint);
            fingerprints.then_with(|| self.text(one, message).cmp(self.text(other, message)))
        });
        let same = |pair: &&[Key]| {
            pair[0].fingerprint == pair[1].fingerprint
                && self.text(&pair[0], message) == self.text(&pair[1], message)
        };
        let pair = keys.windows(2).find(same)?;
        Some(if pair[0].at > pair[1].at {
            pair[0]
        } else {
            pair[1]
        })
    }

    fn text<'a>(&'a self, key: &Key, message: &'a [u8]) -> &'a [u8] {
        let texts = if key.escaped { &self.resolved } else { message };
        &texts[key.from..key.to]
    }
}

/// The error for a repeated key. `at` is the offset of its text, behind the quote.
pub(super) fn duplicate(at: usize) -> Box<DecodeError> {
    DecodeError::new(
        Reason::DuplicateKey,
        at - 1,
        "the object has this key already",
    )
}
