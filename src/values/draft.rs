//! Notes in the making.

use super::Token;

/// Length of what stands in front of the messages: [`Token::Texts`] and two numbers.
pub(super) const PREFIX_BYTES: usize = 9;

/// Room for the notes of a short message, which would else be moved half a dozen times while it grows.
const NOTES_BYTES: usize = 512;

/// Notes of messages, and the texts that stand behind them.
#[derive(Debug, Default)]
pub struct Draft {
    pub(super) notes: Vec<u8>,
    /// Where the notes begin, behind what the owner has in front of them.
    begin: usize,
    /// The texts that are listed, as a JSON array without its end.
    texts: Vec<u8>,
}

/// How far a draft has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub notes: usize,
    texts: usize,
}

impl Draft {
    /// An empty one behind `head`.
    pub(super) fn behind(head: &[u8]) -> Self {
        let mut draft = Draft {
            notes: head.to_vec(),
            begin: head.len(),
            texts: Vec::new(),
        };
        draft.prepare();
        draft
    }

    /// Has room for the prefix. To be called before the first message.
    pub(super) fn prepare(&mut self) {
        if self.notes.len() == self.begin {
            self.notes.reserve(NOTES_BYTES);
            self.notes.push(Token::Texts as u8);
            self.notes.extend_from_slice(&[0; PREFIX_BYTES - 1]);
        }
    }

    /// How long it has become.
    pub fn length(&self) -> usize {
        self.notes.len() + self.texts.len()
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            notes: self.notes.len(),
            texts: self.texts.len(),
        }
    }

    /// Forgets what has come since.
    pub(super) fn back_to(&mut self, progress: Progress) {
        self.notes.truncate(progress.notes);
        self.texts.truncate(progress.texts);
    }

    /// Appends to the texts one that stands like this between the quotes of a JSON text.
    pub(super) fn list(&mut self, text: &[u8]) {
        self.begin_listed();
        self.texts.push(b'"');
        self.texts.extend_from_slice(text);
        self.texts.push(b'"');
    }

    /// The same of any text.
    pub(super) fn list_any(&mut self, text: &str) {
        self.begin_listed();
        // It fails where writing does, and into memory that cannot.
        let _ = serde_json::to_writer(&mut self.texts, text);
    }

    fn begin_listed(&mut self) {
        self.texts
            .push(if self.texts.is_empty() { b'[' } else { b',' });
    }

    /// All of it in the form that the module describes. What is left is empty.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut notes = std::mem::take(&mut self.notes);
        let begin = std::mem::take(&mut self.begin);
        let mut texts = std::mem::take(&mut self.texts);
        if !texts.is_empty() {
            texts.push(b']');
        }
        // Neither frames nor packages are longer: see `limits::TEXT_BYTES_MAX` and `DEQUEUE_BYTES_MAX`.
        let lengths = [notes.len() - begin - PREFIX_BYTES, texts.len()];
        let lengths = lengths.map(|length| (length as u32).to_le_bytes());
        notes[begin + 1..begin + PREFIX_BYTES].copy_from_slice(lengths.as_flattened());
        notes.append(&mut texts);
        notes
    }
}
