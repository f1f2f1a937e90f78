//! Markup in which nothing that a user wrote can be markup: tags and names of attributes are ours, and everything else is
//! escaped on its way in.

use crate::catalog::escape;

/// Grows element by element.
#[derive(Default)]
pub(super) struct Html {
    text: String,
}

/// Names are ours; values may be anybody's.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Html {
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.text.push_str(markup);
        self
    }

    pub(super) fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) -> &mut Self {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape_into(&mut self.text, value);
            self.text.push('"');
        }
        self.text.push('>');
        self
    }

    pub(super) fn close(&mut self, tag: &'static str) -> &mut Self {
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push_str(">\n");
        self
    }

    pub(super) fn words(&mut self, words: &str) -> &mut Self {
        escape_into(&mut self.text, words);
        self
    }

    /// An element that holds words only.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        words: &str,
    ) -> &mut Self {
        self.open(tag, attributes).words(words).close(tag)
    }

    /// A shape of a picture, with words for whoever points at it.
    pub(super) fn shape(&mut self, tag: &'static str, attributes: Attributes<'_>, title: &str) -> &mut Self {
        self.open(tag, attributes).element("title", &[], title).close(tag)
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Control characters, and those that change the direction of the text around them, are shown as in lines for programs.
fn escape_into(text: &mut String, words: &str) {
    for c in escape(words.as_bytes()).chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_no_markup() {
        let mut html = Html::default();
        html.element("td", &[("title", "\" onclick=\"x")], "<script>alert('1')</script>&\u{202e}\u{1b}[2J\n");
        assert_eq!(
            html.finish(),
            "<td title=\"&quot; onclick=&quot;x\">&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\\xe2\\x80\\xae\\x1b[2J\\n</td>\n"
        );
    }

    proptest! {
        #[test]
        fn no_words_leave_their_element(words: String) {
            let mut html = Html::default();
            html.element("a", &[("b", &words)], &words);
            let text = html.finish();
            prop_assert_eq!(text.matches(['<', '>']).count(), 4);
            prop_assert_eq!(text.matches('"').count(), 2);
            prop_assert!(!text.trim_end().contains(|c: char| c.is_control()));
        }
    }
}
