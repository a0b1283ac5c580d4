//! Byte strings back to back, numbered: no object per string.
//!
//! Pages instead of one vector, so that growing copies nothing and a million
//! keys never need twice their memory for a moment.

/// Bytes of a page; a longer string gets a page of its own.
const PAGE_BYTES: usize = 1 << 20;

/// Strings by number, in order of their addition.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pages: Vec<Vec<u8>>,
    spans: Vec<Span>,
}

/// Where a string begins; it ends where the next of the same page begins.
#[derive(Clone, Copy, Debug)]
struct Span {
    page: u32,
    start: u32,
}

impl Arena {
    /// Adds a string; its number is the count before.
    pub(super) fn push(&mut self, text: &[u8]) -> u32 {
        let fits = self.pages.last().is_some_and(|page| page.len() + text.len() <= PAGE_BYTES);
        if !fits {
            let first = self.pages.is_empty();
            self.pages.push(if first { Vec::new() } else { Vec::with_capacity(PAGE_BYTES.max(text.len())) });
        }
        let page = self.pages.len() - 1;
        let bytes = &mut self.pages[page];
        let number = self.spans.len() as u32;
        self.spans.push(Span { page: page as u32, start: bytes.len() as u32 });
        bytes.extend_from_slice(text);
        number
    }

    /// The string of this number. Panics when out of range.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let span = self.spans[number as usize];
        let page = &self.pages[span.page as usize];
        let end = match self.spans.get(number as usize + 1) {
            Some(next) if next.page == span.page => next.start as usize,
            _ => page.len(),
        };
        &page[span.start as usize..end]
    }

    /// Number of strings.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes held.
    pub(super) fn bytes_len(&self) -> usize {
        self.pages.iter().map(Vec::capacity).sum::<usize>() + self.spans.capacity() * size_of::<Span>()
    }
}
