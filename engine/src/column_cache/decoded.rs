//! A decoded column, and the memory that it takes.

use std::collections::HashSet;

use arrow::array::{Array as _, ArrayData, ArrayRef};

/// What an array takes beside its buffers, about: small files have small ones.
const ARRAY_BYTES: u64 = 512;

/// The rows of one row group of one column, in order, as arrays of [`ROWS`](super::fill::ROWS)
/// rows.
#[derive(Debug)]
pub(super) struct DecodedColumn {
    pub(super) arrays: Vec<ArrayRef>,
    /// Memory that the arrays take together.
    pub(super) bytes: u64,
}

/// A column whose arrays come one by one.
#[derive(Debug, Default)]
pub(super) struct ColumnBuilder {
    arrays: Vec<ArrayRef>,
    bytes: u64,
    /// Addresses of the buffers that are counted in `bytes`: views of texts in several arrays share
    /// the buffers of a page.
    counted: HashSet<usize>,
}

impl ColumnBuilder {
    pub(super) fn push(&mut self, array: ArrayRef) {
        self.bytes += ARRAY_BYTES;
        self.count(&array.to_data());
        self.arrays.push(array);
    }

    pub(super) fn arrays(&self) -> &[ArrayRef] {
        &self.arrays
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn finish(self) -> DecodedColumn {
        let Self { arrays, bytes, .. } = self;
        DecodedColumn { arrays, bytes }
    }

    fn count(&mut self, data: &ArrayData) {
        let nulls = data.nulls().map(|nulls| nulls.inner().inner());
        for buffer in data.buffers().iter().chain(nulls) {
            if self.counted.insert(buffer.data_ptr().as_ptr() as usize) {
                self.bytes += buffer.capacity() as u64;
            }
        }
        for child in data.child_data() {
            self.count(child);
        }
    }
}

#[cfg(test)]
impl FromIterator<ArrayRef> for DecodedColumn {
    fn from_iter<T: IntoIterator<Item = ArrayRef>>(arrays: T) -> Self {
        let mut column = ColumnBuilder::default();
        arrays.into_iter().for_each(|array| column.push(array));
        column.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringViewArray;

    use super::*;

    #[test]
    fn buffers_that_arrays_share_count_once() {
        let long = "a text that does not fit into its view";
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![long; 1000]));
        let bytes = |arrays: Vec<ArrayRef>| {
            let count = arrays.len() as u64;
            arrays.into_iter().collect::<DecodedColumn>().bytes - count * ARRAY_BYTES
        };
        let halves = vec![texts.slice(0, 500), texts.slice(500, 500)];
        let whole = bytes(vec![texts]);
        assert_eq!(bytes(halves), whole);
        assert!(whole >= 16 * 1000);
    }
}
