//! Messages of a queue as one value: notes if they suit, else a JSON text.

#[cfg(test)]
use super::draft::PREFIX_BYTES;
use super::draft::{Draft, Progress};
use super::makeup::Makeup;
use super::number::NumberPrinter;
use super::scan::{JSON_BYTES_MAX, Scan};
use super::shapes::{ROOT, ShapeTree};
#[cfg(test)]
use super::words::{NO_WORDS, WORD};
use super::{Scanner, Token, pass_on};

/// A value in parts. All values of one package have the same form, with the same keys.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// A string.
    Text(&'a str),
    /// A finite number.
    Number(f64),
    /// A text that nobody has looked at: it may be JSON.
    Json(&'a str),
    /// An object.
    Object(&'a [(&'a str, Part<'a>)]),
}

/// Where the notes begin if nothing new is defined.
const HEAD_BYTES: usize = 8;

/// An array in the making, by itself, with all that its reader needs:
///
/// ```text
/// how many shapes and how many words the reader knows already, each u16; with 0 of both their numbers begin anew
/// length of the definitions, u32; these
/// notes of one message
/// ```
///
/// What takes a text apart also finds out whether it is JSON, so that each is read once. Beside the notes
/// stands the same as a JSON text, for `JSON.parse` if that is quicker; after a few such packages the next
/// ones have nothing else. A package that is dropped leaves nothing behind, nor does an empty one.
#[derive(Debug)]
pub struct Package<'s> {
    scanner: &'s mut Scanner,
    json: Vec<u8>,
    draft: Draft,
    /// Where the message is.
    begin: Progress,
    count: u32,
    /// Whether it is to be taken apart, if that is possible.
    is_seen: bool,
    /// Of all notes. `None`: something was not plainly taken apart, and there are none.
    makeup: Option<Makeup>,
    /// The numbers of the shapes of one value's objects, the outer ones first.
    shapes: Vec<u16>,
}

impl<'s> Package<'s> {
    /// An empty one.
    pub fn new(scanner: &'s mut Scanner) -> Self {
        if scanner.is_full() {
            *scanner = Scanner::default();
        }
        scanner.make_room();
        let is_seen = !scanner.habit.passes_next();
        let mut draft = Draft::behind(&[0; HEAD_BYTES]);
        let begin = draft.progress();
        draft
            .notes
            .extend_from_slice(&[Token::Message as u8, Token::Array as u8, 0, 0, 0, 0]);
        Package {
            json: vec![b'['],
            draft,
            begin,
            count: 0,
            makeup: is_seen.then(Makeup::default),
            is_seen,
            scanner,
            shapes: Vec::new(),
        }
    }

    /// How many values it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Appends a value. `false`: a text in it is not JSON, and nothing was appended.
    pub fn push(&mut self, value: Part<'_>) -> bool {
        let is_noted = self.note(value);
        if !is_noted {
            if !has_json(value) {
                return false;
            }
            self.makeup = None;
        }
        if self.count > 0 {
            self.json.push(b',');
        }
        write(&mut self.json, value);
        if self.json.len() > JSON_BYTES_MAX {
            self.makeup = None;
        }
        self.count += 1;
        true
    }

    /// Appends the notes of a value if it can be taken apart, and all values before it could be.
    fn note(&mut self, value: Part<'_>) -> bool {
        let Some(makeup) = &mut self.makeup else {
            return false;
        };
        let Scanner {
            shapes,
            words,
            kinds,
            ..
        } = &mut *self.scanner;
        if self.shapes.is_empty() && learn(shapes, value, &mut self.shapes).is_none() {
            return false;
        }
        let begin = self.draft.progress();
        let mut scan = Scan::new(shapes, words, kinds, &mut self.draft);
        let noted = scan.part(value, &mut self.shapes.iter());
        match noted {
            Some(()) => makeup.add(scan.makeup()),
            None => self.draft.back_to(begin),
        }
        noted.is_some()
    }

    /// The package, whose shapes its reader knows from now on.
    pub fn finish(self) -> Vec<u8> {
        let Package {
            scanner,
            mut json,
            mut draft,
            begin,
            count,
            is_seen,
            makeup,
            ..
        } = self;
        json.push(b']');
        let is_suited = makeup.is_some_and(|makeup| makeup.suits_notes(json.len()));
        if is_seen && count > 0 {
            scanner.habit.saw(is_suited);
        }
        if is_suited {
            // Behind two tokens.
            let place = begin.notes + 2;
            draft.notes[place..place + 4].copy_from_slice(&count.to_le_bytes());
        } else {
            draft.back_to(begin);
            pass_on(&json, &mut draft);
        }
        let mut notes = draft.finish();
        let known = scanner.defined();
        // One without values may have met shapes in what it left out; whoever gets it need not pass it on.
        let definitions = match count {
            0 => Vec::new(),
            _ => scanner.take_definitions(),
        };
        notes[..4].copy_from_slice(&known.to_le_bytes());
        notes[4..HEAD_BYTES].copy_from_slice(&(definitions.len() as u32).to_le_bytes());
        notes.splice(HEAD_BYTES..HEAD_BYTES, definitions);
        notes
    }
}

/// Appends the numbers of the shapes of the objects. `None`: one has no shape.
fn learn(tree: &mut ShapeTree, value: Part<'_>, numbers: &mut Vec<u16>) -> Option<()> {
    let Part::Object(fields) = value else {
        return Some(());
    };
    let mut shape = ROOT;
    for (key, _) in fields {
        shape = tree.child(shape, key.as_bytes())?;
    }
    numbers.push(tree.number(shape));
    fields
        .iter()
        .try_for_each(|(_, value)| learn(tree, *value, numbers))
}

/// Whether its texts are JSON where they are to be.
fn has_json(value: Part<'_>) -> bool {
    match value {
        Part::Json(text) => is_json(text),
        Part::Object(fields) => fields.iter().all(|(_, value)| has_json(*value)),
        Part::Text(_) | Part::Number(_) => true,
    }
}

/// Whether a text is JSON.
pub fn is_json(text: &str) -> bool {
    // Skipping a value is iterative in serde_json: depth costs no stack.
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn write(json: &mut Vec<u8>, value: Part<'_>) {
    match value {
        Part::Text(text) => write_string(json, text),
        Part::Number(number) => NumberPrinter::new().double(number, json),
        Part::Json(text) => json.extend_from_slice(text.as_bytes()),
        Part::Object(fields) => {
            let mut separator = b'{';
            for (key, value) in fields {
                json.push(separator);
                write_string(json, key);
                json.push(b':');
                write(json, *value);
                separator = b',';
            }
            json.push(b'}');
        }
    }
}

fn write_string(json: &mut Vec<u8>, text: &str) {
    // It fails where writing does, and into memory that cannot.
    let _ = serde_json::to_writer(json, text);
}

/// What JavaScript does with packages.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct PackageReader {
    definitions: Vec<u8>,
    shapes: u32,
    words: u32,
}

#[cfg(test)]
impl PackageReader {
    /// The JSON text of the next package of a scanner, and whether it was taken apart.
    pub(crate) fn read(&mut self, package: &[u8]) -> (String, bool) {
        let number = |at| u32::from_le_bytes(package[at..at + 4].try_into().expect("four bytes"));
        if number(0) == 0 {
            *self = PackageReader::default();
        }
        let known = self.shapes | self.words << 16;
        assert_eq!(number(0), known, "a package was lost before this one");
        let notes = HEAD_BYTES + number(4) as usize;
        let mut definitions = &package[HEAD_BYTES..notes];
        self.definitions.extend_from_slice(definitions);
        while let [low, high, rest @ ..] = definitions {
            definitions = rest;
            match u16::from_le_bytes([*low, *high]) {
                NO_WORDS => self.words = 0,
                WORD => {
                    definitions = &definitions[1 + usize::from(definitions[0])..];
                    self.words += 1;
                }
                keys => {
                    for _ in 0..keys {
                        definitions = &definitions[2 + usize::from(definitions[1])..];
                    }
                    self.shapes += 1;
                }
            }
        }
        let mut text = Vec::new();
        super::print(
            &package[notes..],
            &self.definitions,
            super::Around::default(),
            &mut text,
        )
        .expect("ours");
        let is_scanned = package[notes + PREFIX_BYTES + 1] != Token::Json as u8;
        (String::from_utf8(text).expect("JSON"), is_scanned)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Habit;
    use super::*;

    fn value<'a>(id: &'a str, payload: &'a str, number: f64) -> [(&'a str, Part<'a>); 3] {
        [
            ("id", Part::Text(id)),
            ("payload", Part::Json(payload)),
            ("number", Part::Number(number)),
        ]
    }

    /// A package of these payloads, and which of them were taken.
    fn package(scanner: &mut Scanner, payloads: &[&str]) -> (Vec<u8>, Vec<bool>) {
        let mut package = Package::new(scanner);
        let taken = payloads
            .iter()
            .map(|payload| package.push(Part::Object(&value("a", payload, 1.0))))
            .collect::<Vec<_>>();
        let count = taken.iter().filter(|taken| **taken).count();
        assert_eq!(package.count() as usize, count);
        (package.finish(), taken)
    }

    /// The JSON text that is expected of it.
    fn expected(payloads: &[&str]) -> String {
        let objects: Vec<_> = payloads
            .iter()
            .map(|payload| format!("{{\"id\":\"a\",\"payload\":{payload},\"number\":1}}"))
            .collect();
        format!("[{}]", objects.join(","))
    }

    #[test]
    fn values_come_in_their_order_with_new_shapes_before_them() {
        let (mut scanner, mut reader) = (Scanner::default(), PackageReader::default());
        for payloads in [
            &["{\"p\":1.5,\"q\":[1,2]}", "null"][..],
            &["{\"p\":2.5,\"q\":[]}"],
            &[],
            &["{\"r\":{\"p\":-0.5}}", "{\"p\":\"short\",\"q\":true}", "7"],
        ] {
            let (package, taken) = package(&mut scanner, payloads);
            assert!(taken.iter().all(|taken| *taken));
            assert_eq!(reader.read(&package), (expected(payloads), true));
        }
    }

    #[test]
    fn texts_and_numbers_are_what_json_stringify_makes_of_them() {
        let long = "long ".repeat(80);
        for id in ["", "plain", "a\"b\\", "\0\n", "Lücke", "価格 📈", &long] {
            for number in [
                0.0,
                -1.0,
                1.5,
                2_147_483_647.0,
                -2_147_483_648.0,
                2_147_483_648.0,
                1_700_000_000_000.0,
                9_007_199_254_740_991.0,
                1e300,
            ] {
                for is_noted in [true, false] {
                    let mut scanner = Scanner::default();
                    let mut package = Package::new(&mut scanner);
                    // A key that only V8 may judge.
                    let payload = ["{\"\\u0061\":1}", "{\"a\":1}"][usize::from(is_noted)];
                    assert!(package.push(Part::Object(&value(id, payload, number))));
                    let (json, is_scanned) = PackageReader::default().read(&package.finish());
                    assert_eq!(is_scanned, is_noted);
                    let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
                    let [read] = read.as_array().expect("an array").as_slice() else {
                        panic!("{json}")
                    };
                    assert_eq!(read["id"], id);
                    assert_eq!(read["payload"], serde_json::json!({ "a": 1 }));
                    assert_eq!(read["number"].as_f64(), Some(number), "{json}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_json_is_left_out_wherever_it_stands() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let good = [
            "1",
            "\"1 größe\"",
            " [ 1.5 ] ",
            "{\"__proto__\":1}",
            "\"\\u00e9\"",
            &deep,
        ];
        let bad = [
            "",
            " ",
            "{",
            "nul",
            "NaN",
            "01",
            "1,\"number\":2",
            "1}",
            "1},{\"id\":\"b\",\"payload\":2",
            "[1,]",
            "\"tab\t\"",
            "\"\\x\"",
            "{\"a\"}",
            "{'a':1}",
            "1 2",
            "[\"2 größen\"",
        ];
        for good in good {
            for bad in bad {
                for payloads in [[bad, good, "2"], [good, bad, "2"], [good, "2", bad]] {
                    let (package, taken) = package(&mut Scanner::default(), &payloads);
                    assert_eq!(taken, payloads.map(|payload| payload != bad), "{bad}");
                    let (json, _) = PackageReader::default().read(&package);
                    let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
                    let wanted: serde_json::Value =
                        serde_json::from_str(&expected(&[good, "2"])).expect("JSON");
                    assert_eq!(read, wanted, "{bad}");
                }
            }
        }
    }

    #[test]
    fn a_package_is_json_if_that_is_read_sooner() {
        let long = format!(
            "[{}]",
            vec!["\"a text that is too long for a word\""; 40].join(",")
        );
        for (payloads, is_noted) in [
            (vec!["1.5"; 3], true),
            (vec![long.as_str(); 3], false),
            (vec!["1.5", "{\"__proto__\":1}", "1.5"], false),
        ] {
            let mut scanner = Scanner::default();
            let (package, _) = package(&mut scanner, &payloads);
            let read = PackageReader::default().read(&package);
            assert_eq!(read, (expected(&payloads), is_noted));
        }
    }

    #[test]
    fn after_a_few_packages_that_are_json_the_next_ones_are() {
        let long = format!(
            "[{}]",
            vec!["\"a text that is too long for a word\""; 40].join(",")
        );
        let mut scanner = Scanner::default();
        let mut reader = PackageReader::default();
        let mut is_noted = |payload: &str| {
            // Empty ones do not count.
            package(&mut scanner, &["{"]);
            let (package, taken) = package(&mut scanner, &["{", payload]);
            assert_eq!(taken, [false, true]);
            let (json, is_noted) = reader.read(&package);
            assert_eq!(json, expected(&[payload]));
            is_noted
        };
        assert!(is_noted("1.5"));
        for _ in 0..Habit::UNSUITED {
            assert!(!is_noted(&long));
        }
        // An empty one takes its turn too.
        for _ in 0..Habit::UNSEEN / 2 {
            assert!(!is_noted("1.5"));
        }
        assert!(is_noted("1.5"));
    }

    #[test]
    fn a_long_package_is_json() {
        let half = format!("[{}0.5]", "0.5,".repeat(JSON_BYTES_MAX / 8));
        for (payloads, is_noted) in [
            (&["1.5", half.as_str()][..], true),
            (&["1.5", &half, &half], false),
            // One is too long by itself.
            (&["1.5", &format!("[{half},{half}]")], false),
        ] {
            let (package, taken) = package(&mut Scanner::default(), payloads);
            assert!(taken.iter().all(|taken| *taken));
            let read = PackageReader::default().read(&package);
            assert!(read == (expected(payloads), is_noted));
        }
    }

    #[test]
    fn a_package_that_is_dropped_leaves_nothing_behind() {
        let (mut scanner, mut reader) = (Scanner::default(), PackageReader::default());
        let mut dropped = Package::new(&mut scanner);
        assert!(dropped.push(Part::Object(&value("a", "{\"new\":1}", 1.0))));
        drop(dropped);
        for payload in ["{\"new\":2}", "{\"other\":3}"] {
            let mut dropped = Package::new(&mut scanner);
            assert!(dropped.push(Part::Object(&value("a", "{\"third\":1}", 1.0))));
            drop(dropped);
            let (package, _) = package(&mut scanner, &[payload]);
            assert_eq!(reader.read(&package), (expected(&[payload]), true));
        }
    }

    #[test]
    fn an_empty_package_need_not_reach_the_reader() {
        let (mut scanner, mut reader) = (Scanner::default(), PackageReader::default());
        for payload in ["{\"a\":1}", "{\"b\":2}"] {
            let (empty, taken) = package(&mut scanner, &["{\"new\":1", "{\"a\":}"]);
            assert_eq!(taken, [false, false]);
            assert_eq!(reader.read(&empty), ("[]".to_owned(), true));
            // Nobody reads this one, though an object in it has a shape.
            package(&mut scanner, &["[{\"newer\":1}"]);
            let (package, _) = package(&mut scanner, &[payload]);
            assert_eq!(reader.read(&package), (expected(&[payload]), true));
        }
    }

    #[test]
    fn a_full_table_of_words_is_begun_anew() {
        let (mut scanner, mut reader) = (Scanner::default(), PackageReader::default());
        let (mut anew, mut words) = (0, 0);
        for number in 0..6_000 {
            // Each comes twice, beside others that are known.
            let texts: Vec<_> = (0..64)
                .map(|text| match text {
                    0 | 1 => format!("\"word {number} of many\""),
                    _ => "\"buy\"".to_owned(),
                })
                .collect();
            let payload = format!("[{}]", texts.join(","));
            let mut dropped = Package::new(&mut scanner);
            assert!(dropped.push(Part::Object(&value("a", &payload, 1.0))));
            drop(dropped);
            let (package, _) = package(&mut scanner, &[&payload]);
            assert_eq!(reader.read(&package), (expected(&[&payload]), true));
            anew += u32::from(reader.words < words);
            words = reader.words;
            // The shapes are the same all the time.
            assert_eq!(reader.shapes, 1);
        }
        assert_eq!(anew, 1);
    }

    #[test]
    fn a_full_table_of_shapes_is_begun_anew() {
        let (mut scanner, mut reader) = (Scanner::default(), PackageReader::default());
        let objects = vec!["{\"x\":0.5}"; 20].join(",");
        let mut anew = 0;
        for number in 0..20_000 {
            let payload = format!("{{\"list\":[{objects}],\"key {}\":1}}", number / 2);
            let (package, _) = package(&mut scanner, &[&payload]);
            anew += u32::from(package[..4] == [0; 4]);
            if number % 499 == 0 || package[4..HEAD_BYTES] != [0; 4] {
                assert_eq!(reader.read(&package).0, expected(&[&payload]));
            }
        }
        assert!(anew > 1, "{anew}");
    }
}
