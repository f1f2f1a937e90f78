//! One number of each backup as a row of bars, oldest first.

use crate::info::page::html::Html;

/// More could not be told apart.
pub(super) const MOST_BARS: usize = 200;
/// Pixels.
const HEIGHT: f64 = 90.0;
const TOP: f64 = 16.0;

pub(super) struct Bar {
    pub(super) class: &'static str,
    pub(super) value: u64,
    pub(super) title: String,
}

#[derive(Debug, PartialEq)]
struct Place {
    x: f64,
    width: f64,
    y: f64,
    height: f64,
}

/// `most`: the value of the highest.
fn place(index: usize, bars: usize, value: u64, most: u64) -> Place {
    let step = 100.0 / bars.max(1) as f64;
    // One backup is not as wide as the page.
    let width = (step * 0.75).min(6.0);
    let height = (value as f64 / most.max(1) as f64 * HEIGHT).max(if value > 0 { 2.0 } else { 0.0 });
    Place { x: step * index as f64 + (step - width) / 2.0, width, y: TOP + HEIGHT - height, height }
}

/// `words`: of a value.
pub(super) fn draw(html: &mut Html, name: &str, bars: &[Bar], words: impl Fn(u64) -> String) {
    let bars = &bars[bars.len().saturating_sub(MOST_BARS)..];
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or(0);
    let least = bars.iter().map(|bar| bar.value).min().unwrap_or(0);
    let label = format!(
        "{name} of {} backups, oldest first: from {} to {}. The table below has the numbers.",
        bars.len(),
        words(least),
        words(most)
    );
    let bottom = (TOP + HEIGHT).to_string();
    html.open(
        "svg",
        &[
            ("role", "img"),
            ("aria-label", &label),
            ("class", "bars"),
            ("height", &(TOP + HEIGHT + 4.0).to_string()),
        ],
    );
    for (y, class) in [(TOP.to_string(), "tick"), (bottom, "base")] {
        html.open("line", &[("class", class), ("x1", "0"), ("x2", "100%"), ("y1", &y), ("y2", &y)])
            .close("line");
    }
    html.element("text", &[("class", "tick"), ("x", "0"), ("y", "11")], &words(most));
    for (index, bar) in bars.iter().enumerate() {
        let at = place(index, bars.len(), bar.value, most);
        html.shape(
            "rect",
            &[
                ("class", bar.class),
                ("x", &format!("{:.2}%", at.x)),
                ("width", &format!("{:.2}%", at.width)),
                ("y", &format!("{:.1}", at.y)),
                ("height", &format!("{:.1}", at.height)),
            ],
            &format!("{}: {}", bar.title, words(bar.value)),
        );
    }
    html.close("svg");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_inside() {
        assert_eq!(place(0, 20, 50, 100), Place { x: 0.625, width: 3.75, y: 61.0, height: 45.0 });
        assert_eq!(place(0, 1, 7, 7), Place { x: 47.0, width: 6.0, y: 16.0, height: 90.0 });
        // Little is seen, and nothing is not.
        assert_eq!((place(0, 2, 1, u64::MAX).height, place(0, 2, 0, 0).height), (2.0, 0.0));
        let last = place(199, 200, u64::MAX, u64::MAX);
        assert!(last.x + last.width <= 100.0 && last.y >= TOP, "{last:?}");
    }
}
