//! The keys of objects, in their order.

use std::collections::HashMap;
use std::hash::BuildHasher;

/// An object without keys.
pub(super) const ROOT: u16 = 0;

/// Shapes that are known at the same time.
const SHAPES_MAX: usize = 8 * 1024;

/// Bytes of all definitions; the reader keeps some ten times as many.
const DEFINITION_BYTES_MAX: usize = 1024 * 1024;

/// Keys of one shape at most. An object with more has none.
const SHAPE_KEYS_MAX: u16 = 256;

/// An object with a longer key has no shape, in bytes.
const KEY_BYTES_MAX: usize = 100;

/// So many shapes are learnt when they come for the first time.
const NEW_SHAPES: usize = 1024;

/// A further one has to come again, and so many objects for each of them. Where keys are data, such as
/// in maps by an id, new shapes are of no use, and each costs many times what it would save.
const OBJECTS_PER_NEW_SHAPE: usize = 16;

/// Keys that are remembered because they may come again.
const MISSED_KEYS: usize = 256;

/// Shapes form a tree: each has the keys of its parent and one more. [`ROOT`] has none.
#[derive(Debug)]
pub(super) struct ShapeTree {
    shapes: Vec<Shape>,
    children: HashMap<(u16, Box<[u8]>), u16>,
    /// Definitions of those that have a number since this was asked last.
    definitions: Vec<u8>,
    /// Bytes of all definitions ever.
    definition_bytes: usize,
    numbers: u16,
    /// How many objects have come that no new shape has been taken for.
    credit: usize,
    /// Hashes of keys that no shape had when they came, each with that behind which it came.
    missed: [u64; MISSED_KEYS],
}

#[derive(Debug)]
struct Shape {
    parent: u16,
    /// The last key as it stands in a JSON text, `"name":`.
    text: Box<[u8]>,
    keys: u16,
    /// The child that was taken last: mostly it is taken again.
    likely_child: u16,
    number: Option<u16>,
}

impl ShapeTree {
    pub fn new() -> Self {
        let root = Shape {
            parent: ROOT,
            text: Box::default(),
            keys: 0,
            likely_child: ROOT,
            number: None,
        };
        ShapeTree {
            shapes: vec![root],
            children: HashMap::new(),
            definitions: Vec::new(),
            definition_bytes: 0,
            numbers: 0,
            credit: 0,
            missed: [0; MISSED_KEYS],
        }
    }

    /// Whether no further shape can be added.
    pub fn is_full(&self) -> bool {
        self.shapes.len() == SHAPES_MAX || self.definition_bytes > DEFINITION_BYTES_MAX
    }

    /// An object begins.
    pub fn begin_object(&mut self) {
        self.credit = self.credit.saturating_add(1);
    }

    /// The child that was taken last, and its last key with quotes and colon.
    pub fn likely_child(&self, shape: u16) -> Option<(u16, &[u8])> {
        let child = self.shapes[usize::from(shape)].likely_child;
        (child != ROOT).then(|| (child, &*self.shapes[usize::from(child)].text))
    }

    /// The shape with one key more; `None` if there is to be none.
    pub fn child(&mut self, shape: u16, key: &[u8]) -> Option<u16> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let place = (shape, Box::from(key));
        let child = match self.children.get(&place) {
            Some(child) => *child,
            None => {
                let keys = self.shapes[usize::from(shape)].keys + 1;
                if self.is_full() || keys > SHAPE_KEYS_MAX {
                    return None;
                }
                if self.shapes.len() > NEW_SHAPES {
                    if self.credit < OBJECTS_PER_NEW_SHAPE || !self.comes_again(&place) {
                        return None;
                    }
                    self.credit -= OBJECTS_PER_NEW_SHAPE;
                }
                let child = self.shapes.len() as u16;
                self.shapes.push(Shape {
                    parent: shape,
                    text: [b"\"", key, b"\":"].concat().into(),
                    keys,
                    likely_child: ROOT,
                    number: None,
                });
                self.children.insert(place, child);
                child
            }
        };
        self.shapes[usize::from(shape)].likely_child = child;
        Some(child)
    }

    /// Whether this key was missed behind this shape before, not long ago.
    fn comes_again(&mut self, place: &(u16, Box<[u8]>)) -> bool {
        let hash = self.children.hasher().hash_one(place);
        let missed = &mut self.missed[hash as usize % MISSED_KEYS];
        std::mem::replace(missed, hash) == hash
    }

    /// The number of a shape, which it gets here at the latest.
    pub fn number(&mut self, shape: u16) -> u16 {
        if let Some(number) = self.shapes[usize::from(shape)].number {
            return number;
        }
        let number = self.numbers;
        self.numbers += 1;
        let before = self.definitions.len();
        self.shapes[usize::from(shape)].number = Some(number);
        let mut texts = Vec::new();
        let mut each = shape;
        while each != ROOT {
            let shape = &self.shapes[usize::from(each)];
            texts.push(&shape.text);
            each = shape.parent;
        }
        self.definitions
            .extend_from_slice(&(texts.len() as u16).to_le_bytes());
        for text in texts.into_iter().rev() {
            self.definitions.push(text.len() as u8);
            self.definitions.extend_from_slice(text);
        }
        self.definition_bytes += self.definitions.len() - before;
        number
    }

    /// How many shapes have a number.
    pub fn numbered(&self) -> u16 {
        self.numbers
    }

    /// The definitions of shapes that have got their numbers since this was asked last.
    pub fn take_definitions(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.definitions)
    }
}
