//! Which module of the library names which, read from their text; and the circles among them.
//!
//! A module is a file. A name that a module only passes on (`pub use`) belongs to the module that defines it, so that
//! `crate::info::Set` is an edge to `info::sets`, not to `info`. Tests inside modules may name what they like.

use std::collections::{BTreeMap, BTreeSet};

/// `store::s3`: a module by its path below the crate, which is the empty one.
pub type Module = Vec<String>;
pub type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// What a module's text says. Names of children are known from the files.
#[derive(Default)]
struct Text {
    /// Of each name that a `use` brings into scope: its path as written.
    names: BTreeMap<String, Vec<String>>,
    /// Paths that are an edge wherever they lead: in code, and in `use` that does not only pass on.
    paths: Vec<Vec<String>>,
    /// Names that `pub use` brings into scope, which are an edge only if code names them.
    passed_on: BTreeSet<String>,
}

/// `sources`: file name below src, and its text.
pub fn graph(sources: &[(String, String)]) -> Graph {
    let texts: BTreeMap<Module, Text> =
        sources.iter().map(|(name, text)| (module_of(name), read(text))).collect();
    let mut graph = Graph::new();
    for (module, text) in &texts {
        let found = text.paths.iter().filter_map(|path| target(&texts, module, path, 0));
        graph.insert(module.clone(), found.filter(|other| other != module).collect());
    }
    graph
}

/// The modules of each circle; a circle of one module is none.
pub fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|module| (module, reachable(graph, module))).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for module in graph.keys().filter(|module| reached[module].contains(module)) {
        if seen.contains(module) {
            continue;
        }
        let circle: Vec<_> =
            reached[module].iter().filter(|other| reached[*other].contains(module)).copied().collect();
        seen.extend(circle.iter().copied());
        found.push(circle.iter().map(|module| module.join("::")).collect());
    }
    found
}

fn reachable<'a>(graph: &'a Graph, from: &Module) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<_> = graph[from].iter().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(graph.get(module).into_iter().flatten());
        }
    }
    reached
}

fn module_of(file: &str) -> Module {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The module that defines what `path`, written in `module`, names. None: it is of another crate.
fn target(texts: &BTreeMap<Module, Text>, module: &Module, path: &[String], depth: usize) -> Option<Module> {
    // No chain of `pub use` is as long; the compiler refuses one that is endless.
    if depth > 20 {
        return None;
    }
    let (first, rest) = path.split_first()?;
    let child = |of: &Module, name: &String| {
        let child: Module = of.iter().chain([name]).cloned().collect();
        texts.contains_key(&child).then_some(child)
    };
    match first.as_str() {
        "crate" => below(texts, Vec::new(), rest, depth),
        "self" => below(texts, module.clone(), rest, depth),
        "super" => below(texts, module[..module.len().checked_sub(1)?].to_vec(), rest, depth),
        _ => match (texts[module].names.get(first), child(module, first)) {
            (Some(path), None) => {
                let path: Vec<_> = path.iter().chain(rest).cloned().collect();
                target(texts, module, &path, depth + 1)
            }
            (_, Some(child)) => below(texts, child, rest, depth),
            (None, None) => None,
        },
    }
}

/// The same of what `path` names below `module`.
fn below(texts: &BTreeMap<Module, Text>, module: Module, path: &[String], depth: usize) -> Option<Module> {
    let Some((first, rest)) = path.split_first() else { return Some(module) };
    if first == "super" {
        return below(texts, module[..module.len().checked_sub(1)?].to_vec(), rest, depth);
    }
    let child: Module = module.iter().chain([first]).cloned().collect();
    let named = texts.get(&module).and_then(|text| text.names.get(first));
    // A function may have the name of its module: at the end of a path it is meant.
    match (named, texts.contains_key(&child)) {
        (Some(named), is_child) if !is_child || rest.is_empty() => {
            let path: Vec<_> = named.iter().chain(rest).cloned().collect();
            target(texts, &module, &path, depth + 1)
        }
        (_, true) => below(texts, child, rest, depth),
        (_, false) => Some(module),
    }
}

fn read(text: &str) -> Text {
    let words = words(&without_tests(text));
    let mut read = Text::default();
    // Modules inside of the file, and the depth of braces at which each ends.
    let (mut inside, mut depth): (Vec<usize>, usize) = (Vec::new(), 0);
    let mut code = Vec::new();
    let mut at = 0;
    while at < words.len() {
        match words[at].as_str() {
            "use" => {
                let is_public = matches!(before(&words, at), "pub" | ")");
                let end = (at..words.len()).find(|end| words[*end] == ";").unwrap_or(words.len());
                let mut paths = Vec::new();
                tree(&words[at + 1..end], &mut 0, &[], &mut paths);
                for (path, name) in paths {
                    let path = outside(path, inside.len());
                    if is_public {
                        read.passed_on.insert(name.clone());
                    } else {
                        read.paths.push(path.clone());
                    }
                    read.names.insert(name, path);
                }
                at = end;
            }
            "mod" if words.get(at + 2).is_some_and(|word| word == "{") => inside.push(depth),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inside.last() == Some(&depth) {
                    inside.pop();
                }
            }
            // Neither the rest of a path, nor a method, nor what is defined here.
            word if is_name(word) && !matches!(before(&words, at), "::" | "." | "fn" | "mod") => {
                let mut path = vec![word.to_owned()];
                while words.get(at + 1).is_some_and(|word| word == "::")
                    && words.get(at + 2).is_some_and(|word| is_name(word))
                {
                    path.push(words[at + 2].clone());
                    at += 2;
                }
                code.push(outside(path, inside.len()));
            }
            _ => {}
        }
        at += 1;
    }
    // A name alone is a variable as well as what a `use` brought; those that count are in `paths` by then.
    let names = |path: &Vec<String>| path.len() > 1 || read.passed_on.contains(&path[0]);
    read.paths.extend(code.into_iter().filter(names));
    read
}

/// A path from modules inside of the file, as the file itself would write it.
fn outside(path: Vec<String>, inside: usize) -> Vec<String> {
    let supers = path.iter().take_while(|word| *word == "super").count().min(inside);
    match supers {
        0 => path,
        _ => ["self".to_owned()].into_iter().chain(path.into_iter().skip(supers)).collect(),
    }
}

/// Each path of a `use`, and the name that it brings into scope.
fn tree(words: &[String], at: &mut usize, before: &[String], paths: &mut Vec<(Vec<String>, String)>) {
    let mut path = before.to_vec();
    while let Some(word) = words.get(*at) {
        *at += 1;
        match word.as_str() {
            "::" => {}
            "{" => {
                while words.get(*at).is_some_and(|word| word != "}") {
                    tree(words, at, &path, paths);
                    if words.get(*at).is_some_and(|word| word == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "as" => {
                let name = words.get(*at).cloned().unwrap_or_default();
                *at += 1;
                paths.push((path, name));
                return;
            }
            // All that a module has: an edge to the module.
            "*" => {
                paths.push((path, "*".to_owned()));
                return;
            }
            "self" if !before.is_empty() && path.len() == before.len() => {}
            _ => path.push(word.clone()),
        }
        if words.get(*at).is_some_and(|word| matches!(word.as_str(), "," | "}")) {
            break;
        }
    }
    if let Some(name) = path.last().cloned() {
        paths.push((path, name));
    }
}

fn before(words: &[String], at: usize) -> &str {
    at.checked_sub(1).map_or("", |before| &words[before])
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The module of unit tests stands alone at the margin, and ends there.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut is_test = false;
    for line in text.lines() {
        is_test |= line == "#[cfg(test)]";
        if !is_test {
            kept.push_str(line);
            kept.push('\n');
        } else if line == "}" || (line.ends_with(';') && !line.starts_with(' ')) {
            is_test = false;
        }
    }
    kept
}

/// Names, `::` and single marks, without comments and the insides of strings.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let letters: Vec<char> = text.chars().collect();
    let mut at = 0;
    let starts =
        |at: usize, with: &str| with.chars().enumerate().all(|(n, c)| letters.get(at + n) == Some(&c));
    while at < letters.len() {
        let letter = letters[at];
        if starts(at, "//") {
            at += letters[at..].iter().take_while(|c| **c != '\n').count();
        } else if let Some(hashes) = raw_string(&letters[at..]) {
            let end: String = ['"'].into_iter().chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 2;
            while at < letters.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if letter == '"' {
            at += 1;
            while at < letters.len() && letters[at] != '"' {
                at += if letters[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if letter == '\'' && letters.get(at + 1) == Some(&'\\') {
            at += 3 + letters[at + 3..].iter().take_while(|c| **c != '\'').count() + 1;
        } else if letter == '\'' && letters.get(at + 2) == Some(&'\'') {
            at += 3;
        } else if letter.is_alphanumeric() || letter == '_' {
            let word: String =
                letters[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            at += word.chars().count();
            words.push(word);
        } else if starts(at, "::") {
            words.push("::".to_owned());
            at += 2;
        } else {
            if !letter.is_whitespace() {
                words.push(letter.to_string());
            }
            at += 1;
        }
    }
    words
}

/// Of a raw string that begins here: how many `#` it has.
fn raw_string(letters: &[char]) -> Option<usize> {
    let rest = letters.strip_prefix(&['r'])?;
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    (rest.get(hashes) == Some(&'"')).then_some(hashes)
}

/// The checker is only as good as what it finds.
#[test]
fn an_invented_circle_is_found() {
    let found = |sources: &[(&str, &str)]| {
        let sources: Vec<_> = sources.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        circles(&graph(&sources))
    };
    let room = "mod a;\nmod b;\nmod c;\npub use a::{A, go};\npub use b::B as Other;\n";
    let two = |a: &str, b: &str| {
        found(&[("lib.rs", "pub mod room;"), ("room/mod.rs", room), ("room/a.rs", a), ("room/b.rs", b)])
    };
    let circle = [["room::a", "room::b"]];
    // Each way of naming another module.
    for b in [
        "use crate::room::a::A;",
        "use super::{a, c};",
        "use crate::{error, room::{A as X, c::C}};",
        "fn f(x: crate::room::A) {}",
        "fn f() { super::a::go() }",
        "use crate::room::go;",
        "use crate::room; fn f() { room::go() }",
        "use super::a::*;",
        "mod inner { fn f() { super::super::a::go() } }",
        "fn quote() -> char { '\"' } fn f() { super::go() }",
    ] {
        assert_eq!(two("use crate::room::Other;", b), circle, "{b}");
    }
    // What is none.
    for b in [
        "",
        "use crate::error::A;",
        "// use super::a;\nconst TEXT: &str = \"super::a::go()\";",
        "const RAW: &str = r#\"crate::room::A \" super::a\"#;",
        "fn f(a: u8) -> u8 { a.go() }",
        "fn go() {}",
        "#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}\n",
        "mod inner { fn f() { super::a::go() } }",
    ] {
        assert!(two("use crate::room::Other;", b).is_empty(), "{b}");
    }
    // Over a room's own module, which passes names on and uses one of them; and over three.
    let over_mod = [
        ("room/mod.rs", "mod a;\npub use a::A;\npub const N: u8 = 1;\nfn f(a: A) {}"),
        ("room/a.rs", "use crate::room::N;"),
    ];
    assert_eq!(found(&over_mod), [["room", "room::a"]]);
    let three = [("a.rs", "use crate::b::X;"), ("b.rs", "use crate::c::Y;"), ("c.rs", "use crate::a::Z;")];
    assert_eq!(found(&three), [["a", "b", "c"]]);
}
