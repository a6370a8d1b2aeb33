//! What a message consists of, and who is quicker with that.

/// Up to so many letters `JSON.parse` looks for a string in a table (V8, `kMaxInternalizedStringValueLength`).
const SHORT_LETTERS_MAX: usize = 10;

/// Of a message with more strings that are not short, the rest decides how it is read.
const LONG_STRINGS_MAX: usize = 12;

/// The same of whole numbers, `true`, `false` and `null`.
const PLAIN_MAX: usize = 64;

/// What a message consists of, keys apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Makeup {
    short_strings: usize,
    long_strings: usize,
    /// Whole numbers, `true`, `false` and `null` that are not of their kind in a layout.
    pub plain: usize,
    pub doubles: usize,
    /// Keys that no shape has.
    pub further_keys: usize,
    /// Keys of objects whose layout was known.
    pub expected_keys: usize,
    /// Of objects that were noted as JSON.
    pub json_bytes: usize,
}

impl Makeup {
    /// Whether `JSON.parse` takes longer for it than its notes do. It looks for each short string in a
    /// table, and takes several times as long as its note for that, for a number with a fraction, and
    /// for a key that it has not seen there; and it compares each key, which costs nothing where the layout
    /// of an object is known. A longer string that is no word V8 makes in either case, so that to look at it
    /// before is in vain. Of a text of `json_bytes` most must have become notes.
    pub fn suits_notes(&self, json_bytes: usize) -> bool {
        let quick = self.short_strings + self.doubles + self.further_keys + self.expected_keys;
        self.long_strings <= LONG_STRINGS_MAX + quick
            && self.plain <= PLAIN_MAX + 4 * quick
            && 2 * self.json_bytes <= json_bytes
    }

    /// Adds a string of so many letters. `is_plain`: it is ASCII without escapes.
    pub fn add_string(&mut self, letters: usize, is_plain: bool) {
        let is_short = is_plain && letters <= SHORT_LETTERS_MAX;
        self.short_strings += usize::from(is_short);
        self.long_strings += usize::from(!is_short);
    }

    /// Adds a string of so many letters that was known: `JSON.parse` takes longer for it, but only for a short one
    /// so much that others that it is quicker with are made up for.
    pub fn add_word(&mut self, letters: usize) {
        self.short_strings += usize::from(letters <= SHORT_LETTERS_MAX);
    }

    /// Adds what another message consists of.
    pub fn add(&mut self, other: Makeup) {
        self.short_strings += other.short_strings;
        self.long_strings += other.long_strings;
        self.plain += other.plain;
        self.doubles += other.doubles;
        self.further_keys += other.further_keys;
        self.expected_keys += other.expected_keys;
        self.json_bytes += other.json_bytes;
    }
}
