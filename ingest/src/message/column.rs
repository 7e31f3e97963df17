//! Builders for the columns of decoded messages.
//!
//! A value is written at its row, and the column fills skipped rows with nulls. A field that a
//! message lacks therefore costs nothing, and a refused message is undone by truncating every
//! column to the rows before it.

use std::mem;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, Field, FieldRef, Fields};

use super::keys::{Spelling, fingerprint};
use super::shape::{Declared, Kind, Shape};

/// The column of one field, or of the elements of one list.
#[derive(Debug)]
pub(super) struct Slot {
    /// Whether null is refused.
    pub(super) required: bool,
    /// The values.
    pub(super) column: Column,
}

#[derive(Debug)]
pub(super) enum Column {
    Boolean(Booleans),
    Bigint(Numbers<i64>),
    Double(Numbers<f64>),
    Text(Texts),
    Json(Texts),
    Object(Object),
    List(List),
}

impl Slot {
    fn new(declared: &Declared) -> Self {
        let column = match &declared.kind {
            Kind::Boolean => Column::Boolean(Booleans::default()),
            Kind::Bigint => Column::Bigint(Numbers::default()),
            Kind::Double => Column::Double(Numbers::default()),
            Kind::Text => Column::Text(Texts::default()),
            Kind::Json => Column::Json(Texts::default()),
            Kind::Object(shape) => Column::Object(Object::new(shape)),
            Kind::List(element) => Column::List(List::new(element)),
        };
        Self {
            required: declared.is_required(),
            column,
        }
    }
}

impl Column {
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Boolean(column) => column.truncate(rows),
            Self::Bigint(column) => column.truncate(rows),
            Self::Double(column) => column.truncate(rows),
            Self::Text(column) | Self::Json(column) => column.truncate(rows),
            Self::Object(column) => column.truncate(rows),
            Self::List(column) => column.truncate(rows),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Boolean(column) => column.valid.bytes() + column.values.bytes(),
            Self::Bigint(column) => column.bytes(),
            Self::Double(column) => column.bytes(),
            Self::Text(column) | Self::Json(column) => column.bytes(),
            Self::Object(column) => column.bytes(),
            Self::List(column) => column.bytes(),
        }
    }

    /// The first `rows` rows as an array. The column is empty afterwards.
    fn take(&mut self, rows: usize) -> ArrayRef {
        match self {
            Self::Boolean(column) => Arc::new(column.take(rows)),
            Self::Bigint(column) => {
                let (values, nulls) = column.take(rows);
                Arc::new(Int64Array::new(values, nulls))
            }
            Self::Double(column) => {
                let (values, nulls) = column.take(rows);
                Arc::new(Float64Array::new(values, nulls))
            }
            Self::Text(column) | Self::Json(column) => Arc::new(column.take(rows)),
            Self::Object(column) => {
                let nulls = column.valid.take_nulls(rows);
                Arc::new(column.take(rows, nulls))
            }
            Self::List(column) => Arc::new(column.take(rows)),
        }
    }
}

/// Bits that are packed only when they are taken: a byte is written faster than a bit.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<bool>);

impl Bits {
    /// Sets the bit of the row. Skipped rows before it get zeros.
    #[inline]
    fn set(&mut self, row: usize, bit: bool) {
        if self.0.len() < row {
            self.0.resize(row, false);
        }
        self.0.push(bit);
    }

    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self, rows: usize) -> BooleanBuffer {
        self.0.resize(rows, false);
        let packed = BooleanBuffer::collect_bool(rows, |row| self.0[row]);
        self.0.clear();
        packed
    }

    fn take_nulls(&mut self, rows: usize) -> Option<NullBuffer> {
        let nulls = NullBuffer::new(self.take(rows));
        (nulls.null_count() > 0).then_some(nulls)
    }
}

#[derive(Debug, Default)]
pub(super) struct Booleans {
    valid: Bits,
    values: Bits,
}

impl Booleans {
    pub(super) fn set(&mut self, row: usize, value: bool) {
        self.valid.set(row, true);
        self.values.set(row, value);
    }

    fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        self.values.truncate(rows);
    }

    fn take(&mut self, rows: usize) -> BooleanArray {
        BooleanArray::new(self.values.take(rows), self.valid.take_nulls(rows))
    }
}

#[derive(Debug, Default)]
pub(super) struct Numbers<T> {
    valid: Bits,
    values: Vec<T>,
}

impl<T: Copy + Default + ArrowNativeType> Numbers<T> {
    #[inline]
    pub(super) fn set(&mut self, row: usize, value: T) {
        self.valid.set(row, true);
        if self.values.len() < row {
            self.values.resize(row, T::default());
        }
        self.values.push(value);
    }

    fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        self.values.truncate(rows);
    }

    fn bytes(&self) -> usize {
        self.valid.bytes() + size_of_val(self.values.as_slice())
    }

    fn take(&mut self, rows: usize) -> (ScalarBuffer<T>, Option<NullBuffer>) {
        self.values.resize(rows, T::default());
        (
            take_vec(&mut self.values).into(),
            self.valid.take_nulls(rows),
        )
    }
}

#[derive(Debug, Default)]
pub(super) struct Texts {
    valid: Bits,
    offsets: OffsetsBuilder,
    bytes: Vec<u8>,
}

impl Texts {
    #[inline]
    pub(super) fn set(&mut self, row: usize, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.end(row);
    }

    /// The buffer to append a text to piece by piece. [`Self::end`] ends the text.
    pub(super) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline]
    pub(super) fn end(&mut self, row: usize) {
        self.valid.set(row, true);
        self.offsets.set(row, self.bytes.len());
    }

    fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        self.offsets.truncate(rows);
        self.bytes.truncate(self.offsets.end());
    }

    fn bytes(&self) -> usize {
        self.valid.bytes() + self.offsets.bytes() + self.bytes.len()
    }

    fn take(&mut self, rows: usize) -> StringArray {
        let offsets = self.offsets.take(rows);
        let bytes = Buffer::from_vec(take_vec(&mut self.bytes));
        StringArray::new(offsets, bytes, self.valid.take_nulls(rows))
    }
}

/// Builds the Arrow offsets of a list or a text column: where each row begins, and where the last
/// one ends.
#[derive(Debug)]
struct OffsetsBuilder(Vec<i32>);

impl Default for OffsetsBuilder {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl OffsetsBuilder {
    fn last(&self) -> i32 {
        self.0.last().copied().unwrap_or_default()
    }

    fn end(&self) -> usize {
        self.last() as usize
    }

    #[inline]
    fn set(&mut self, row: usize, end: usize) {
        if self.0.len() <= row {
            self.0.resize(row + 1, self.last());
        }
        let end = i32::try_from(end).expect("the decoder limits what a batch holds");
        self.0.push(end);
    }

    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows + 1);
    }

    fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    fn take(&mut self, rows: usize) -> OffsetBuffer<i32> {
        self.0.resize(rows + 1, self.last());
        let offsets = take_vec(&mut self.0);
        self.0.push(0);
        OffsetBuffer::new(offsets.into())
    }
}

/// The columns of an object's declared fields, and the lookup of their keys.
#[derive(Debug)]
pub(super) struct Object {
    valid: Bits,
    /// Declared fields, by name.
    pub(super) members: Vec<Member>,
    /// Fingerprints of the names of the members.
    fingerprints: Vec<u64>,
    /// Number of the required members.
    pub(super) required: usize,
    /// Index of the member that was first in the previous object.
    pub(super) first: usize,
    fields: Fields,
}

#[derive(Debug)]
pub(super) struct Member {
    /// Declared name.
    pub(super) name: String,
    /// The name as it occurs in messages.
    pub(super) spelling: Spelling,
    /// Index of the member that followed this one in the previous object.
    pub(super) next: usize,
    /// Number of the latest object with this member. Objects are numbered as they are read.
    pub(super) seen_in: u64,
    /// Column of the field.
    pub(super) slot: Slot,
}

impl Object {
    pub(super) fn new(shape: &Shape) -> Self {
        let members: Vec<Member> = shape
            .fields
            .iter()
            .enumerate()
            .map(|(index, (name, declared))| Member::new(name, index, declared))
            .collect();
        Self {
            valid: Bits::default(),
            fingerprints: members
                .iter()
                .map(|member| fingerprint(member.name.as_bytes()))
                .collect(),
            required: members.iter().filter(|member| member.slot.required).count(),
            first: 0,
            members,
            fields: shape.arrow_fields(),
        }
    }

    /// The member of this name.
    #[inline]
    pub(super) fn find(&self, name: &[u8], fingerprint: u64) -> Option<usize> {
        let same = |&(index, &theirs): &(usize, &u64)| {
            theirs == fingerprint && self.members[index].name.as_bytes() == name
        };
        self.fingerprints
            .iter()
            .enumerate()
            .find(same)
            .map(|(index, _)| index)
    }

    /// Marks the row as one that has an object.
    #[inline]
    pub(super) fn set(&mut self, row: usize) {
        self.valid.set(row, true);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        for member in &mut self.members {
            member.slot.column.truncate(rows);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let members = self.members.iter().map(|member| member.slot.column.bytes());
        self.valid.bytes() + members.sum::<usize>()
    }

    pub(super) fn take(&mut self, rows: usize, nulls: Option<NullBuffer>) -> StructArray {
        let columns = self
            .members
            .iter_mut()
            .map(|member| member.slot.column.take(rows))
            .collect();
        StructArray::try_new_with_length(self.fields.clone(), columns, nulls, rows)
            .expect("columns follow the shape that the fields come from")
    }
}

impl Member {
    fn new(name: &str, index: usize, declared: &Declared) -> Self {
        Self {
            name: name.to_owned(),
            spelling: Spelling::new(name),
            next: index + 1,
            seen_in: 0,
            slot: Slot::new(declared),
        }
    }
}

#[derive(Debug)]
pub(super) struct List {
    valid: Bits,
    offsets: OffsetsBuilder,
    /// Column of the elements of all rows.
    pub(super) element: Box<Slot>,
    field: FieldRef,
}

impl List {
    fn new(element: &Declared) -> Self {
        let field = Field::new_list_field(element.kind.data_type(), true);
        Self {
            valid: Bits::default(),
            offsets: OffsetsBuilder::default(),
            element: Box::new(Slot::new(element)),
            field: Arc::new(field),
        }
    }

    /// The row that the next element is written at.
    pub(super) fn elements(&self) -> usize {
        self.offsets.end()
    }

    pub(super) fn end(&mut self, row: usize, elements: usize) {
        self.valid.set(row, true);
        self.offsets.set(row, elements);
    }

    fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        self.offsets.truncate(rows);
        self.element.column.truncate(self.offsets.end());
    }

    fn bytes(&self) -> usize {
        self.valid.bytes() + self.offsets.bytes() + self.element.column.bytes()
    }

    fn take(&mut self, rows: usize) -> ListArray {
        let elements = self.element.column.take(self.elements());
        let offsets = self.offsets.take(rows);
        ListArray::new(
            Arc::clone(&self.field),
            offsets,
            elements,
            self.valid.take_nulls(rows),
        )
    }
}

/// Takes the values, and leaves a vector of the same capacity: the next batch is probably as large.
fn take_vec<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    mem::replace(values, room)
}
