//! The keys of objects, in their order.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::Kind;
use super::layouts::{Field, Guess, Layout};

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

/// Keys that are remembered because they may come again, by their hash in so many pairs. In a pair, so that
/// two that come in turn do not make each other forgotten.
const MISSED_PAIRS: usize = 128;

/// Places for keys that came before, a power of two.
const SEEN_KEYS: usize = 64 * 1024;

/// So many children of a shape are tried before they are looked up. At the beginning of an object, it is one for
/// each kind of object in a message.
const LIKELY_CHILDREN: usize = 4;

/// So many objects of a shape show what kinds its values have.
const OBJECTS_PER_LAYOUT: u32 = 8;

/// Layouts that are known at the same time.
const LAYOUTS_MAX: usize = 8 * 1024;

/// Values of an object with more keys have no kinds.
const LAYOUT_KEYS_MAX: usize = 128;

/// Shapes form a tree: each has the keys of its parent and one more. [`ROOT`] has none.
#[derive(Debug)]
pub(super) struct ShapeTree {
    shapes: Vec<Shape>,
    layouts: Vec<Layout>,
    /// By their place: their parent, in two bytes, and their last key.
    children: HashMap<Box<[u8]>, u16>,
    /// The place that was asked for last.
    place: Vec<u8>,
    /// Definitions of those that have a number since this was asked last.
    definitions: Vec<u8>,
    /// Bytes of all definitions ever.
    definition_bytes: usize,
    numbers: u16,
    /// How many shapes had a number when the definitions were asked for last.
    defined: u16,
    /// How many objects have come that no new shape has been taken for.
    credit: usize,
    /// Hashes of keys that no shape had when they came, each with that behind which it came.
    missed: [[u64; 2]; MISSED_PAIRS],
    seen: SeenKeys,
}

/// Keys that no shape has, with those in front of them: which of them came before. Some are forgotten, and
/// of the others one in 65,536 is taken for another.
#[derive(Debug, Default)]
pub(super) struct SeenKeys {
    /// By the first half of their hash the second one; empty until there is a key.
    tags: Vec<u16>,
}

impl SeenKeys {
    /// Takes note of the last key of a path. Returns whether it came before.
    pub fn add(&mut self, path: Path) -> bool {
        if self.tags.is_empty() {
            self.tags = vec![0; SEEN_KEYS];
        }
        let tag = &mut self.tags[(path.0 >> 48) as usize % SEEN_KEYS];
        let new = (path.0 >> 32) as u16;
        std::mem::replace(tag, new) == new
    }
}

/// A hash of keys in their order. Nothing but speed depends on it, so that it need not be safe against those
/// who look for collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path(u64);

impl Path {
    /// The keys of a shape.
    pub fn of_shape(shape: u16) -> Self {
        Path(shape.into())
    }

    /// This path with one key more.
    pub fn with(self, key: &[u8]) -> Self {
        // An odd number without a pattern in its bits.
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, bytes: u64| (hash.rotate_left(23) ^ bytes).wrapping_mul(FACTOR);
        let (eights, rest) = key.as_chunks();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let eights = eights.iter().chain([&last]);
        let hash = eights.fold(self.0, |hash, eight| mix(hash, u64::from_le_bytes(*eight)));
        Path(mix(hash, key.len() as u64))
    }
}

#[derive(Debug)]
struct Shape {
    parent: u16,
    last_key: Key,
    keys: u16,
    /// The children that were looked up last; mostly one of them comes again. [`ROOT`] stands for none.
    likely_children: [u16; LIKELY_CHILDREN],
    number: Option<u16>,
    /// Objects that were looked at for the kinds of their values, which these are.
    objects: u32,
    kinds: Box<[Kind]>,
    layout: Option<u16>,
    /// The first key of the object that was the value of its last key, or in a list there. [`ROOT`] has that
    /// of messages, and stands for none.
    inside: u16,
    /// Of objects that begin with its last key, if that is its only one.
    guess: Guess,
}

impl Shape {
    fn new(parent: u16, last_key: Key, keys: u16) -> Self {
        Shape {
            parent,
            last_key,
            keys,
            likely_children: [ROOT; LIKELY_CHILDREN],
            number: None,
            objects: 0,
            kinds: Box::default(),
            layout: None,
            inside: ROOT,
            guess: Guess::default(),
        }
    }

    /// Widens the kinds of its values to those of one more object. Returns whether that was necessary.
    fn take_kinds(&mut self, kinds: &[Kind]) -> bool {
        if self.kinds.is_empty() {
            self.kinds = kinds.into();
            return true;
        }
        let mut is_new = false;
        for (known, new) in self.kinds.iter_mut().zip(kinds) {
            let both = known.with(*new);
            is_new |= both != *known;
            *known = both;
        }
        is_new
    }
}

/// Bytes of a key that are compared at once.
const HEAD_BYTES: usize = 8;

/// A key as it stands in a JSON text, `"name":`.
#[derive(Debug, Clone, Default)]
pub(super) struct Key {
    text: Box<[u8]>,
    /// Its first bytes, and a mask of those that there are.
    head: u64,
    mask: u64,
}

impl Key {
    fn new(name: &[u8]) -> Self {
        let text = [b"\"", name, b"\":"].concat();
        let count = text.len().min(HEAD_BYTES);
        let (mut head, mut mask) = ([0; HEAD_BYTES], [0; HEAD_BYTES]);
        head[..count].copy_from_slice(&text[..count]);
        mask[..count].fill(0xff);
        Key {
            text: text.into(),
            head: u64::from_le_bytes(head),
            mask: u64::from_le_bytes(mask),
        }
    }

    /// Its length.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether `json` begins with it. Most keys are so short that a call of `memcmp` takes longer.
    pub fn begins(&self, json: &[u8]) -> bool {
        let Some((head, rest)) = json.split_first_chunk() else {
            return json.starts_with(&self.text);
        };
        (u64::from_le_bytes(*head) ^ self.head) & self.mask == 0
            && (self.text.len() <= HEAD_BYTES || rest.starts_with(&self.text[HEAD_BYTES..]))
    }
}

impl ShapeTree {
    pub fn new() -> Self {
        ShapeTree {
            shapes: vec![Shape::new(ROOT, Key::default(), 0)],
            layouts: Vec::new(),
            children: HashMap::new(),
            place: Vec::new(),
            definitions: Vec::new(),
            definition_bytes: 0,
            numbers: 0,
            defined: 0,
            credit: 0,
            missed: [[0; 2]; MISSED_PAIRS],
            seen: SeenKeys::default(),
        }
    }

    /// Whether no further shape can be added.
    pub fn is_full(&self) -> bool {
        self.shapes.len() == SHAPES_MAX
            || self.layouts.len() == LAYOUTS_MAX
            || self.definition_bytes > DEFINITION_BYTES_MAX
    }

    /// The keys that no shape has.
    pub fn seen(&mut self) -> &mut SeenKeys {
        &mut self.seen
    }

    /// An object begins.
    pub fn begin_object(&mut self) {
        self.credit = self.credit.saturating_add(1);
    }

    /// The likely child whose last key `json` begins with, and the length of that with its quotes and colon.
    pub fn likely_child(&self, shape: u16, json: &[u8]) -> Option<(u16, usize)> {
        for child in self.shapes[usize::from(shape)].likely_children {
            if child == ROOT {
                break;
            }
            let key = &self.shapes[usize::from(child)].last_key;
            if key.begins(json) {
                return Some((child, key.len()));
            }
        }
        None
    }

    /// The shape with one key more; `None` if there is to be none.
    pub fn child(&mut self, shape: u16, key: &[u8]) -> Option<u16> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        self.place.clear();
        self.place.extend_from_slice(&shape.to_le_bytes());
        self.place.extend_from_slice(key);
        let child = match self.children.get(&*self.place) {
            Some(child) => *child,
            None => self.add_child(shape, key)?,
        };
        let likely = &mut self.shapes[usize::from(shape)].likely_children;
        // It is there where white space kept it from being tried.
        if !likely.contains(&child) {
            likely.rotate_right(1);
            likely[0] = child;
        }
        Some(child)
    }

    /// Adds the shape at `self.place`, if there is to be one.
    fn add_child(&mut self, shape: u16, key: &[u8]) -> Option<u16> {
        let keys = self.shapes[usize::from(shape)].keys + 1;
        if self.is_full() || keys > SHAPE_KEYS_MAX {
            return None;
        }
        if self.shapes.len() > NEW_SHAPES {
            if self.credit < OBJECTS_PER_NEW_SHAPE || !self.comes_again() {
                return None;
            }
            self.credit -= OBJECTS_PER_NEW_SHAPE;
        }
        let child = self.shapes.len() as u16;
        self.shapes.push(Shape::new(shape, Key::new(key), keys));
        self.children.insert(self.place.as_slice().into(), child);
        Some(child)
    }

    /// Whether `self.place` was missed before, not long ago.
    fn comes_again(&mut self) -> bool {
        let hash = self.children.hasher().hash_one(&self.place);
        let missed = &mut self.missed[hash as usize % MISSED_PAIRS];
        let again = missed.contains(&hash);
        if !again {
            *missed = [hash, missed[0]];
        }
        again
    }

    /// The number of a shape, which it gets here at the latest.
    pub fn number(&mut self, shape: u16) -> u16 {
        if let Some(number) = self.shapes[usize::from(shape)].number {
            return number;
        }
        let number = self.define(shape, |_| Kind::Any);
        self.shapes[usize::from(shape)].number = Some(number);
        number
    }

    /// Gives a number to a shape with the kinds that its values have by their place.
    fn define(&mut self, shape: u16, kind: impl Fn(usize) -> Kind) -> u16 {
        let number = self.numbers;
        self.numbers += 1;
        let before = self.definitions.len();
        let keys = self.keys(shape);
        self.definitions
            .extend_from_slice(&(keys.len() as u16).to_le_bytes());
        for (place, key) in keys.into_iter().enumerate() {
            let text = &self.shapes[usize::from(key)].last_key.text;
            self.definitions
                .extend_from_slice(&[kind(place) as u8, text.len() as u8]);
            self.definitions.extend_from_slice(text);
        }
        self.definition_bytes += self.definitions.len() - before;
        number
    }

    /// The shapes whose last keys are the keys of `shape`, in their order.
    fn keys(&self, shape: u16) -> Vec<u16> {
        let mut keys = Vec::new();
        let mut each = shape;
        while each != ROOT {
            keys.push(each);
            each = self.shapes[usize::from(each)].parent;
        }
        keys.reverse();
        keys
    }

    /// The first key of an object at some place whose keys are at the front of `json`, if it is one that
    /// objects had there or elsewhere, and the length of that with its quotes and colon.
    pub fn likely_first(&self, place: u16, json: &[u8]) -> Option<(u16, usize)> {
        let inside = self.shapes[usize::from(place)].inside;
        let key = &self.shapes[usize::from(inside)].last_key;
        match inside != ROOT && key.begins(json) {
            true => Some((inside, key.len())),
            false => self.likely_child(ROOT, json),
        }
    }

    /// A guess at the layout of an object with this first key.
    pub fn likely_layout(&self, first: u16) -> Option<u16> {
        self.shapes[usize::from(first)].guess.get()
    }

    /// Whether the guess was right at an object with this first key.
    pub fn tried(&mut self, first: u16, is_right: bool) {
        self.shapes[usize::from(first)].guess.tried(is_right);
    }

    pub fn layout(&self, layout: u16) -> &Layout {
        &self.layouts[usize::from(layout)]
    }

    /// Takes note of an object at some place that was read key by key, and of the kinds that its values have.
    /// `is_tried`: it has not the layout that was expected.
    pub fn learn(&mut self, place: u16, first: u16, shape: u16, kinds: &[Kind], is_tried: bool) {
        self.shapes[usize::from(place)].inside = first;
        let this = &mut self.shapes[usize::from(shape)];
        let is_known = this.objects >= OBJECTS_PER_LAYOUT;
        if (!is_known || is_tried) && kinds.len() <= LAYOUT_KEYS_MAX {
            let is_new = this.take_kinds(kinds);
            if is_known && is_new {
                // There may be more that change with it.
                this.layout = None;
                this.objects = 0;
            } else if !is_known {
                this.objects += 1;
                if this.objects == OBJECTS_PER_LAYOUT {
                    self.lay_out(shape);
                }
            }
        }
        if let Some(layout) = self.shapes[usize::from(shape)].layout {
            self.shapes[usize::from(first)].guess.learn(layout);
        }
    }

    /// Gives a shape a layout. Where none of its values has a kind, it says which keys are expected.
    fn lay_out(&mut self, shape: u16) {
        let kinds = std::mem::take(&mut self.shapes[usize::from(shape)].kinds);
        if !self.is_full() {
            let mut fixed_bytes = 0;
            let fields = self.keys(shape).into_iter().zip(&kinds).map(|(key, kind)| {
                let offset = fixed_bytes;
                fixed_bytes += kind.fixed_bytes();
                Field {
                    key: self.shapes[usize::from(key)].last_key.clone(),
                    shape: key,
                    kind: *kind,
                    offset,
                }
            });
            let fields = fields.collect();
            let number = match kinds.iter().all(|kind| *kind == Kind::Any) {
                true => self.number(shape),
                false => self.define(shape, |place| kinds[place]),
            };
            self.shapes[usize::from(shape)].layout = Some(self.layouts.len() as u16);
            self.layouts.push(Layout {
                number,
                fixed_bytes,
                fields,
            });
        }
        self.shapes[usize::from(shape)].kinds = kinds;
    }

    /// Of how many shapes the definitions were taken.
    pub fn defined(&self) -> u16 {
        self.defined
    }

    /// The definitions of shapes that have got their numbers since this was asked last.
    pub fn take_definitions(&mut self) -> Vec<u8> {
        self.defined = self.numbers;
        std::mem::take(&mut self.definitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_that_come_in_turn_are_both_remembered() {
        let mut tree = ShapeTree::new();
        let place = |tree: &ShapeTree, key: u32| {
            tree.children.hasher().hash_one(key.to_le_bytes().to_vec()) as usize % MISSED_PAIRS
        };
        let other = (1..)
            .find(|key| place(&tree, *key) == place(&tree, 0))
            .expect("a pair has two places");
        let mut again = |key: u32| {
            tree.place = key.to_le_bytes().to_vec();
            tree.comes_again()
        };
        let turns = [0, other, 0, other].map(&mut again);
        assert_eq!(turns, [false, false, true, true]);
    }

    #[test]
    fn keys_are_seen_again_behind_the_same_keys() {
        let mut seen = SeenKeys::default();
        let names: Vec<String> = (0..1_000).map(|name| format!("a key {name}")).collect();
        let again = |seen: &mut SeenKeys, names: &[String]| {
            let mut path = Path::of_shape(7);
            let seen = names.iter().filter(|name| {
                path = path.with(name.as_bytes());
                seen.add(path)
            });
            seen.count()
        };
        assert_eq!(again(&mut seen, &names), 0);
        assert!(again(&mut seen, &names) > 980);
        assert_eq!(again(&mut seen, &names[1..]), 0);
        assert!(again(&mut seen, &names) > 960);
        for (one, other) in [("", "\0"), ("12345678", "12345678\0"), ("ab", "ba")] {
            let path = Path::of_shape(ROOT);
            assert_ne!(path.with(one.as_bytes()), path.with(other.as_bytes()));
        }
    }

    #[test]
    fn so_many_layouts_fill_the_table() {
        const KEYS: usize = 8;
        let mut tree = ShapeTree::new();
        let mut first = 0;
        while !tree.is_full() {
            let (mut shapes, mut last) = (Vec::new(), ROOT);
            for key in 0..KEYS {
                let key = format!("{}", first + key);
                // It comes again, and in so many objects that it gets a shape.
                last = loop {
                    (0..OBJECTS_PER_NEW_SHAPE).for_each(|_| tree.begin_object());
                    if let Some(child) = tree.child(last, key.as_bytes()) {
                        break child;
                    }
                };
                shapes.push(last);
            }
            first += KEYS;
            // Its values become others, one after the other.
            for kind in [Kind::Double, Kind::Any] {
                for changed in 0..=KEYS {
                    let before = if kind == Kind::Double {
                        Kind::Integer
                    } else {
                        Kind::Double
                    };
                    let kinds: Vec<_> = (0..KEYS)
                        .map(|key| if key < changed { kind } else { before })
                        .collect();
                    for _ in 0..=OBJECTS_PER_LAYOUT {
                        tree.learn(ROOT, shapes[0], last, &kinds, true);
                    }
                }
            }
        }
        // Before anything else has filled it, and not beyond the numbers that there are.
        assert_eq!(tree.layouts.len(), LAYOUTS_MAX);
        assert!(tree.shapes.len() < SHAPES_MAX && tree.definition_bytes < DEFINITION_BYTES_MAX);
        assert!(usize::from(tree.numbers) <= LAYOUTS_MAX + SHAPES_MAX);
    }

    #[test]
    fn the_likely_children_are_those_that_were_asked_for_last() {
        let mut tree = ShapeTree::new();
        let names: Vec<String> = (0..20)
            .map(|length| "abcdefghij".repeat(2)[..length].into())
            .collect();
        for name in &names {
            let child = tree.child(ROOT, name.as_bytes()).expect("a shape");
            assert_eq!(tree.child(ROOT, name.as_bytes()), Some(child));
        }
        for turn in names.windows(LIKELY_CHILDREN) {
            let children: Vec<_> = turn
                .iter()
                .map(|name| tree.child(ROOT, name.as_bytes()))
                .collect();
            for (name, child) in turn.iter().zip(children) {
                let text = format!("\"{name}\":");
                let expected = child.map(|child| (child, text.len()));
                for json in [
                    text.clone(),
                    format!("{text}1}}"),
                    format!("{text}[1,2,3,4,5,6]}}"),
                ] {
                    assert_eq!(tree.likely_child(ROOT, json.as_bytes()), expected, "{json}");
                }
                for json in [
                    &text[..text.len() - 1],
                    &format!("\"{name}-\":1"),
                    &text[1..],
                    "",
                ] {
                    assert_eq!(tree.likely_child(ROOT, json.as_bytes()), None, "{json}");
                }
            }
        }
        let forgotten = format!("\"{}\":1", names[0]);
        assert_eq!(tree.likely_child(ROOT, forgotten.as_bytes()), None);
    }
}
