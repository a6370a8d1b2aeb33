//! Objects: with the layout that is expected of them, or key by key.

use super::{Number, Scan};
use crate::values::draft::Progress;
use crate::values::layouts::Layout;
use crate::values::makeup::Makeup;
use crate::values::shapes::{Path, ROOT};
use crate::values::text::plain_prefix;
use crate::values::{Kind, Token};

/// An object with more keys that no shape has is left to `JSON.parse`.
const FURTHER_KEYS_MAX: usize = 100;

/// So many of the keys that no shape has are not looked for among those that came before, and as many have
/// to be left then: most objects with such keys have fewer, and a look costs as much as an integer.
const SKIPPED_KEYS: usize = 4;

/// With more such objects than that all of a message is, and with it the package that it is in.
const JSON_OBJECTS_MAX: usize = 4;

/// A key of an object.
enum Key<'a> {
    /// The last one of this shape.
    OfShape(u16),
    /// One that no shape is to have.
    Further(&'a [u8]),
}

/// The keys of an object that no shape has.
struct FurtherKeys {
    /// Where it is noted how many there are.
    count_at: usize,
    count: usize,
    /// Those that V8 takes for an index, whose values it keeps as those of an array.
    indices: usize,
    /// All keys up to the last one.
    path: Path,
    /// Those behind the first few that came before.
    seen: usize,
    /// What the message consists of without their values.
    makeup: Makeup,
}

impl FurtherKeys {
    /// Whether `JSON.parse` makes the object sooner: V8 makes a table where there are many, takes what looks
    /// like an index for the places of an array, and has a hidden class for keys that it had in this order.
    fn suit_json(&self) -> bool {
        self.count > FURTHER_KEYS_MAX
            || 2 * self.indices > self.count
            || (self.count >= 2 * SKIPPED_KEYS && 2 * self.seen > self.count - SKIPPED_KEYS)
    }
}

/// Whether a key looks like the index of an array.
fn is_index(key: &[u8]) -> bool {
    (1..=10).contains(&key.len()) && key.iter().all(u8::is_ascii_digit)
}

impl<'a> Scan<'a, '_> {
    pub(super) fn object(&mut self) -> Option<()> {
        self.shapes.begin_object();
        let place = self.place;
        let first = self.shapes.likely_first(place, &self.json[self.at..]);
        let guess = first.and_then(|(first, _)| self.shapes.likely_layout(first));
        if let (Some((first, _)), Some(layout)) = (first, guess) {
            let is_right = self.try_layout(layout);
            self.shapes.tried(first, is_right);
            if is_right {
                return Some(());
            }
            // `JSON.parse` is quicker then, and somebody may want this to take long.
            if self.wasted > self.json.len() {
                return None;
            }
        }
        self.object_of_any(place, first, guess.is_some())
    }

    /// Notes an object if it has this layout. If not, nothing has happened.
    fn try_layout(&mut self, layout: u16) -> bool {
        let (at, depth, makeup, json) = (
            self.at,
            self.depth,
            self.makeup,
            (self.json_count, self.json_end),
        );
        let (draft, kinds) = (self.draft.progress(), self.kinds.len());
        let is_right = self.object_of(layout).is_some();
        if !is_right {
            if self.wasted <= self.json.len() {
                self.wasted += self.at - at;
            }
            (
                self.at,
                self.depth,
                self.makeup,
                (self.json_count, self.json_end),
            ) = (at, depth, makeup, json);
            self.draft.back_to(draft);
            self.kinds.truncate(kinds);
        }
        is_right
    }

    /// Notes an object of a layout. `None`: it has another, or is malformed.
    fn object_of(&mut self, layout: u16) -> Option<()> {
        let Layout {
            number,
            fixed_bytes,
            fields,
        } = self.shapes.layout(layout);
        let count = fields.len();
        let [low, high] = number.to_le_bytes();
        self.draft
            .notes
            .extend_from_slice(&[Token::Object as u8, low, high]);
        let fixed = self.draft.notes.len();
        self.draft.notes.resize(fixed + fixed_bytes, 0);
        for index in 0..count {
            // It is asked for anew each time because a value may come with shapes of its own.
            let field = &self.shapes.layout(layout).fields[index];
            if !field.key.begins(&self.json[self.at..]) {
                return None;
            }
            self.at += field.key.len();
            let begin = fixed + field.offset;
            match field.kind {
                Kind::Any => {
                    self.place = field.shape;
                    self.value()?;
                }
                Kind::Text => self.text()?,
                Kind::Flag => {
                    let flag = self.peek()? == b't';
                    self.take_word(if flag { b"true" } else { b"false" })?;
                    self.draft.notes[begin] = flag.into();
                }
                Kind::Integer => {
                    let Number::Integer(number) = self.number()? else {
                        return None;
                    };
                    self.draft.notes[begin..begin + 4].copy_from_slice(&number.to_le_bytes());
                }
                Kind::Double => {
                    let number = match self.number()? {
                        Number::Integer(number) => number.into(),
                        Number::Double(number) => number,
                    };
                    self.makeup.doubles += 1;
                    self.draft.notes[begin..begin + 8].copy_from_slice(&number.to_le_bytes());
                }
            }
            let end = if index + 1 == count { b'}' } else { b',' };
            if self.peek()? != end {
                return None;
            }
            self.at += 1;
        }
        self.makeup.expected_keys += count;
        Some(())
    }

    /// Notes an object at some place key by key. `likely_first` is its first key and the length of that, if
    /// it was found. `is_tried`: it has not the layout that was expected.
    fn object_of_any(
        &mut self,
        place: u16,
        likely_first: Option<(u16, usize)>,
        is_tried: bool,
    ) -> Option<()> {
        let json_begin = self.at - 1;
        let draft = self.draft.progress();
        let begin = draft.notes;
        let kinds = self.kinds.len();
        let mut first = ROOT;
        self.draft
            .notes
            .extend_from_slice(&[Token::Object as u8, 0, 0]);
        let mut shape = ROOT;
        // Once there is a key that no shape is to have.
        let mut further: Option<FurtherKeys> = None;
        if self.next()? != b'}' {
            loop {
                let key = match (&further, likely_first) {
                    (Some(_), _) => Key::Further(self.key()?),
                    (None, Some((child, length))) if shape == ROOT => {
                        self.at += length;
                        Key::OfShape(child)
                    }
                    (None, _) => self.key_behind(shape)?,
                };
                match key {
                    Key::OfShape(child) => {
                        if shape == ROOT {
                            first = child;
                        }
                        shape = child;
                    }
                    Key::Further(key) => {
                        let keys = further.get_or_insert_with(|| FurtherKeys {
                            count_at: self.begin_count(),
                            count: 0,
                            indices: 0,
                            path: Path::of_shape(shape),
                            seen: 0,
                            makeup: self.makeup,
                        });
                        keys.count += 1;
                        keys.indices += usize::from(is_index(key));
                        keys.path = keys.path.with(key);
                        if keys.count > SKIPPED_KEYS {
                            keys.seen += usize::from(self.shapes.seen().add(keys.path));
                        }
                        self.key_of_none(key);
                    }
                }
                self.place = shape;
                let kind = self.value()?;
                self.kinds.push(kind);
                match self.next()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        self.at += 1;
        if further.is_none() && first != ROOT {
            let kinds = &self.kinds[kinds..];
            self.shapes.learn(place, first, shape, kinds, is_tried);
        }
        self.kinds.truncate(kinds);
        if let Some(keys) = further {
            if keys.suit_json() {
                self.makeup = keys.makeup;
                return self.json_since(json_begin, draft);
            }
            self.makeup.further_keys += keys.count;
            self.draft.notes[begin] = Token::Extended as u8;
            self.set_count(keys.count_at, keys.count as u32);
        }
        let number = self.shapes.number(shape);
        self.draft.notes[begin + 1..begin + 3].copy_from_slice(&number.to_le_bytes());
        Some(())
    }

    /// Takes the key that comes behind those of `shape`, and its colon.
    fn key_behind(&mut self, shape: u16) -> Option<Key<'a>> {
        if let Some(child) = self.known_key(shape) {
            return Some(Key::OfShape(child));
        }
        let key = self.key()?;
        let child = self.shapes.child(shape, key);
        Some(child.map_or(Key::Further(key), Key::OfShape))
    }

    /// Notes an object as it stands in the text, in the place of what was noted of it. `None`: many
    /// objects, or one in this one, were left to `JSON.parse` already, and all of the message had better
    /// be.
    fn json_since(&mut self, json_begin: usize, begin: Progress) -> Option<()> {
        self.json_count += 1;
        if self.json_end > begin.notes || self.json_count > JSON_OBJECTS_MAX {
            return None;
        }
        self.draft.back_to(begin);
        self.counted(Token::Json, self.at - json_begin);
        self.draft
            .notes
            .extend_from_slice(&self.json[json_begin..self.at]);
        self.json_end = self.draft.notes.len();
        self.makeup.json_bytes += self.at - json_begin;
        Some(())
    }

    /// Takes a key that came next in objects before, and its colon, if one of them comes here too.
    fn known_key(&mut self, shape: u16) -> Option<u16> {
        let (child, length) = self.shapes.likely_child(shape, &self.json[self.at..])?;
        self.at += length;
        Some(child)
    }

    /// Takes a key without escapes and its colon. `None` also if only V8 should judge it.
    fn key(&mut self) -> Option<&'a [u8]> {
        if self.next()? != b'"' {
            return None;
        }
        let begin = self.at + 1;
        let end = begin + plain_prefix(&self.json[begin..]).0;
        if *self.json.get(end)? != b'"' {
            return None;
        }
        self.at = end + 1;
        self.expect(b':')?;
        let key = &self.json[begin..end];
        // An assignment of it would set the prototype.
        (key != b"__proto__").then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::draft::Draft;
    use crate::values::shapes::ShapeTree;
    use crate::values::words::Words;

    /// Whoever reads an object anew, because it has not the layout that was expected, reads nested ones again
    /// at every level.
    #[test]
    fn little_is_read_in_vain() {
        // So many first keys of objects are looked for at once.
        const LEVELS: usize = 4;
        let (mut shapes, mut words) = (ShapeTree::new(), Words::new());
        let mut kinds = Vec::new();
        let mut read = |json: &str| {
            let mut draft = Draft::default();
            let mut scan = Scan::new(&mut shapes, &mut words, &mut kinds, &mut draft);
            (scan.text_of_json(json.as_bytes()).is_some(), scan.wasted)
        };
        for level in 0..LEVELS {
            for _ in 0..20 {
                read(&format!("{{\"k{level}\":[0.5],\"x\":0.5}}"));
            }
        }
        // Each of them is expected to end as the others did, and does not.
        let nested = |levels| {
            (0..levels).fold("[0.5]".to_owned(), |inner, level| {
                format!("{{\"k{level}\":{inner},\"x\":null}}")
            })
        };
        let one = nested(1);
        let (is_read, wasted) = read(&one);
        assert!(is_read && (1..=one.len()).contains(&wasted), "{wasted}");
        // What would be read in vain again and again is given up.
        let many = nested(LEVELS);
        let (is_read, wasted) = read(&many);
        assert!(!is_read, "{wasted}");
        assert!((many.len()..=2 * many.len()).contains(&wasted), "{wasted}");
        assert_eq!(read("{\"k3\":[0.5],\"x\":0.5}"), (true, 0));
    }
}
