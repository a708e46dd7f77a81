//! Templates: how a row's fields become the source text.

use std::collections::BTreeMap;

/// A parsed template: text with `{field}` places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template<'a>(Vec<Piece<'a>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Field(&'a str),
}

impl<'a> Template<'a> {
    /// Parses `text`; the error says what is wrong.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            pieces.push(Piece::Text(before));
            let unbalanced = || format!("the template `{text}` has an unbalanced brace: write places as {{field}}");
            let inner = from.strip_prefix('{').ok_or_else(unbalanced)?;
            let (name, after) = inner.split_once('}').ok_or_else(unbalanced)?;
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!(
                    "the template `{text}` has a place `{{{name}}}`: a field's name is made of letters, digits and _"
                ));
            }
            pieces.push(Piece::Field(name));
            rest = after;
        }
        pieces.push(Piece::Text(rest));
        pieces.retain(|piece| *piece != Piece::Text(""));
        let template = Self(pieces);
        if template.fields().is_empty() {
            return Err(format!("the template `{text}` has no {{field}}: say where the text goes"));
        }
        Ok(template)
    }

    /// The fields in the order of their first places.
    pub(super) fn fields(&self) -> Vec<&'a str> {
        let mut fields = Vec::new();
        for piece in &self.0 {
            if let Piece::Field(name) = piece
                && !fields.contains(name)
            {
                fields.push(*name);
            }
        }
        fields
    }

    /// The text with the fields put in; the error names the field that is missing or that the template does not know.
    pub(super) fn render(&self, fields: &BTreeMap<String, String>) -> Result<String, String> {
        self.check(fields)?;
        let text = |piece: &Piece<'a>| match piece {
            Piece::Text(text) => *text,
            Piece::Field(name) => fields[*name].as_str(),
        };
        Ok(self.0.iter().map(text).collect())
    }

    /// Refuses fields other than the template's, and empty ones.
    pub(super) fn check(&self, fields: &BTreeMap<String, String>) -> Result<(), String> {
        let wanted = self.fields();
        let list = || wanted.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        for name in &wanted {
            match fields.get(*name) {
                None => return Err(format!("the field `{name}` is missing: give {}", list())),
                Some(text) if text.trim().is_empty() => return Err(format!("the field `{name}` is empty")),
                Some(_) => {}
            }
        }
        match fields.keys().find(|name| !wanted.contains(&name.as_str())) {
            Some(name) => Err(format!("unknown field `{name}`: the task has {}", list())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, wanted: &str) {
        let fields = BTreeMap::from([("a".into(), "one".into()), ("b".into(), "{a}".into())]);
        let found = Template::parse(template).and_then(|t| t.render(&fields)).unwrap_or_else(|error| error);
        assert!(found.contains(wanted), "{template} gave {found}");
    }

    #[test]
    fn places() {
        check("x {a}: {b}", "x one: {a}");
        check("{b}{a}{b}", "{a}one{a}");
        check("{a}", "unknown field `b`: the task has `a`");
        check("{a}{b}{c}", "the field `c` is missing: give `a`, `b`, `c`");
        check("none", "no {field}");
        check("{a", "unbalanced brace");
        check("a}", "unbalanced brace");
        check("{}", "a field's name");
        check("{a b}", "a field's name");
    }

    #[test]
    fn empty_fields_are_refused() {
        let fields = BTreeMap::from([("a".into(), " \t".into())]);
        assert_eq!(Template::parse("{a}").unwrap().render(&fields), Err("the field `a` is empty".into()));
    }
}
