//! The losses of a run as an SVG, drawn by hand.

use super::Progress;
use std::collections::BTreeMap;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// The corners of the plot: left, top, right, bottom.
const PLOT: [f64; 4] = [56.0, 16.0, 740.0, 372.0];

/// Light and dark by what the reader prefers; colours after Okabe and Ito, which all eyes tell apart.
const STYLE: &str = "\
svg{--ink:#222;--grid:#ddd;--paper:#fff}
@media(prefers-color-scheme:dark){svg{--ink:#ddd;--grid:#444;--paper:#161616}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}
.paper{fill:var(--paper)}.grid{stroke:var(--grid)}
polyline{fill:none;stroke-width:1.5}
.c0{stroke:#999}.c1{stroke:#0072b2}.c2{stroke:#d55e00}.c3{stroke:#009e73}.c4{stroke:#cc79a7}";

/// Training loss and held-out losses against tokens seen: an SVG of its own, light or dark as the reader prefers.
pub fn curve(reports: &[Progress]) -> String {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> =
        vec![("training".into(), reports.iter().map(|report| (report.tokens as f64, report.loss)).collect())];
    let mut held_out: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for report in reports {
        for (name, loss) in report.held_out.iter().flatten() {
            held_out.entry(name).or_default().push((report.tokens as f64, *loss));
        }
    }
    lines.extend(held_out.into_iter().map(|(name, points)| (format!("held out: {name}"), points)));
    let points = || lines.iter().flat_map(|(_, points)| points);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let bottom = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let (bottom, top) = if bottom < top { (bottom, top) } else { (0.0, top.max(1.0)) };
    let [x0, y0, x1, y1] = PLOT;
    let x = |tokens: f64| x0 + (x1 - x0) * tokens / right;
    let y = |loss: f64| y1 - (y1 - y0) * (loss - bottom) / (top - bottom);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>Loss against tokens seen</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n"
    );
    for tick in ticks(0.0, right) {
        let (at, label) = (x(tick), count(tick));
        svg += &format!("<line class=\"grid\" x1=\"{at:.1}\" y1=\"{y0}\" x2=\"{at:.1}\" y2=\"{y1}\"/>\n");
        svg += &format!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\n", y1 + 16.0);
    }
    for tick in ticks(bottom, top) {
        let (at, label) = (y(tick), tidy(tick));
        svg += &format!("<line class=\"grid\" x1=\"{x0}\" y1=\"{at:.1}\" x2=\"{x1}\" y2=\"{at:.1}\"/>\n");
        svg += &format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n", x0 - 6.0, at + 4.0);
    }
    let (middle, below) = ((x0 + x1) / 2.0, HEIGHT - 10.0);
    svg += &format!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">tokens seen</text>\n");
    let upright = (y0 + y1) / 2.0;
    svg += &format!(
        "<text transform=\"translate(14 {upright}) rotate(-90)\" text-anchor=\"middle\">loss, nats a target token</text>\n"
    );
    for (number, (name, points)) in lines.iter().enumerate() {
        let class = if number == 0 { 0 } else { 1 + (number - 1) % 4 };
        let places: Vec<String> = points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        svg += &format!("<polyline class=\"c{class}\" points=\"{}\"/>\n", places.join(" "));
        let at = y0 + 14.0 + 18.0 * number as f64;
        let (from, to, text) = (x1 - 204.0, x1 - 180.0, x1 - 174.0);
        svg += &format!("<polyline class=\"c{class}\" points=\"{from},{at} {to},{at}\"/>\n");
        svg += &format!("<text x=\"{text}\" y=\"{}\">{}</text>\n", at + 4.0, escaped(name));
    }
    svg + "</svg>\n"
}

/// Five to ten round numbers within a range.
fn ticks(from: f64, to: f64) -> Vec<f64> {
    let rough = (to - from) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [5.0, 2.0, 1.0].into_iter().map(|round| round * power).find(|step| *step <= rough).unwrap_or(power);
    let (first, last) = ((from / step).ceil() as i64, (to / step).floor() as i64);
    (first..=last).map(|number| number as f64 * step).collect()
}

/// 2500000 as 2.5 M.
fn count(number: f64) -> String {
    let units = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (unit, name) = units.into_iter().find(|(unit, _)| number >= *unit).unwrap_or((1.0, ""));
    tidy(number / unit) + name
}

/// At most three decimals, and no noughts at the end.
fn tidy(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(count: usize) -> Vec<Progress> {
        let one = |step: usize| {
            let held_out = step.is_multiple_of(5).then(|| {
                [("text".to_string(), 8.0 - step as f64 / 40.0), ("<own> & built-in".to_string(), 6.0)].into()
            });
            Progress {
                step,
                tokens: 1800 * step,
                loss: 9.0 - (step as f64).sqrt() / 5.0,
                held_out,
                ..Progress::default()
            }
        };
        (1..=count).map(one).collect()
    }

    /// Every tag is closed in its turn, and attributes are quoted; gives the tags with their attributes.
    fn tags(xml: &str) -> Vec<String> {
        let (mut open, mut tags) = (Vec::new(), Vec::new());
        for part in xml.split('<').skip(1) {
            let (tag, text) = part.split_once('>').expect("a tag ends");
            let entity = |rest: &str| ["amp;", "lt;", "gt;", "quot;"].iter().any(|name| rest.starts_with(name));
            assert!(!text.contains('>') && text.split('&').skip(1).all(entity), "{text}");
            assert!(
                tag.matches('"').count().is_multiple_of(2) && tag.matches('=').count() * 2 == tag.matches('"').count()
            );
            let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap().to_string();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            tags.push(tag.to_string());
        }
        assert!(open.is_empty(), "{open:?}");
        tags
    }

    #[test]
    fn every_report_is_a_point() {
        let svg = curve(&reports(42));
        let lines: Vec<_> = tags(&svg).into_iter().filter(|tag| tag.starts_with("polyline")).collect();
        let points: Vec<_> = lines.iter().step_by(2).map(|line| line.matches(',').count()).collect();
        assert_eq!(points, [42, 8, 8]);
        for text in
            ["training", "held out: text", "held out: &lt;own&gt; &amp; built-in", "tokens seen", ">60 k<", ">8<"]
        {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn few_reports_do() {
        for count in [0, 1, 2] {
            let svg = curve(&reports(count));
            tags(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn ticks_are_round() {
        let cases = [
            (0.0, 1.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (2.9, 9.1, vec![3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
            (0.0, 75_000.0, vec![0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0, 60_000.0, 70_000.0]),
        ];
        for (from, to, wanted) in cases {
            let found = ticks(from, to);
            assert!(
                found.len() == wanted.len() && found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-9 * to),
                "{found:?}"
            );
        }
        assert_eq!([count(2_500_000.0), count(0.0), count(800.0)], ["2.5 M", "0", "800"]);
    }
}
