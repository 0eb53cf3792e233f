//! As much of Rust's grammar as habits are about: tokens with their lines, names in full, functions, macros with what they are given.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    /// A name, a keyword, a number.
    Word(&'t str),
    /// What stands between quotes.
    Text(&'t str),
    Sign(char),
}

/// A token with its line, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed<'t> {
    pub(crate) token: Token<'t>,
    pub(crate) line: usize,
}

impl<'t> Placed<'t> {
    fn word(self) -> Option<&'t str> {
        match self.token {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is(self, sign: char) -> bool {
        self.token == Token::Sign(sign)
    }
}

/// All tokens; neither remarks nor lifetimes.
pub(crate) fn tokens(text: &str) -> Vec<Placed<'_>> {
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (token, length) = if first.is_whitespace() {
            (None, first.len_utf8())
        } else if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (None, remark(rest))
        } else if let Some((text, length)) = literal(rest) {
            (text.map(Token::Text), length)
        } else if is_of_word(first) {
            let length = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            (Some(Token::Word(&rest[..length])), length)
        } else {
            (Some(Token::Sign(first)), first.len_utf8())
        };
        found.extend(token.map(|token| Placed { token, line }));
        line += rest[..length].matches('\n').count();
        at += length;
    }
    found
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a remark between marks, which may hold others.
fn remark(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        at += match () {
            () if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            () if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            () => rest.chars().next().map_or(0, char::len_utf8),
        };
        if depth == 0 || at == text.len() {
            return at;
        }
    }
}

/// A string, a character or a lifetime that the text begins with: what stands in it, and its length.
fn literal(text: &str) -> Option<(Option<&str>, usize)> {
    let marked = text.trim_start_matches(['b', 'c']);
    let marked = if text.len() - marked.len() > 1 {
        text
    } else {
        marked
    };
    let head = text.len() - marked.len();
    if let Some(raw) = marked.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if let Some(inside) = raw[hashes..].strip_prefix('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = inside.find(&end).unwrap_or(inside.len());
            let all = head + 1 + hashes + 1 + length + end.len();
            return Some((Some(&inside[..length]), all.min(text.len())));
        }
    }
    if let Some(inside) = marked.strip_prefix('"') {
        let length = closed(inside, '"');
        return Some((Some(&inside[..length]), (head + 2 + length).min(text.len())));
    }
    let inside = marked.strip_prefix('\'')?;
    let mut chars = inside.chars();
    match (chars.next()?, chars.next()) {
        ('\\', _) => Some((None, (head + 2 + closed(inside, '\'')).min(text.len()))),
        (c, Some('\'')) => Some((None, head + 2 + c.len_utf8())),
        _ => Some((
            None,
            head + 1 + inside.find(|c| !is_of_word(c)).unwrap_or(inside.len()),
        )),
    }
}

/// Length of what stands before the closing quote.
fn closed(inside: &str, quote: char) -> usize {
    let mut is_escaped = false;
    let end = inside.find(|c| {
        let ends = c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    end.unwrap_or(inside.len())
}

/// The tokens without what is compiled for tests alone.
pub(crate) fn without_tests<'t>(tokens: &[Placed<'t>]) -> Vec<Placed<'t>> {
    const MARK: [Token<'_>; 7] = [
        Token::Sign('#'),
        Token::Sign('['),
        Token::Word("cfg"),
        Token::Sign('('),
        Token::Word("test"),
        Token::Sign(')'),
        Token::Sign(']'),
    ];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let rest = &tokens[at..];
        let is_mark =
            rest.len() >= MARK.len() && rest.iter().zip(MARK).all(|(placed, mark)| placed.token == mark);
        if is_mark {
            at += MARK.len() + item(&rest[MARK.len()..]);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Length of an item with its attributes: to its end, or to the end of its body.
fn item(tokens: &[Placed<'_>]) -> usize {
    let mut at = 0;
    while let Some(placed) = tokens.get(at) {
        match placed.token {
            Token::Sign(';') => return at + 1,
            Token::Sign('{') => return at + group(&tokens[at..]),
            Token::Sign('(' | '[') => at += group(&tokens[at..]),
            _ => at += 1,
        }
    }
    at
}

/// Length of a group that the tokens begin with, brackets included.
fn group(tokens: &[Placed<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, placed) in tokens.iter().enumerate() {
        match placed.token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Something that is named, by its full name as far as the file tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// By `use`; else where it is used.
    pub(crate) imported: bool,
}

impl Named {
    /// It is that or lies in it, or is a glob that takes it in.
    pub(crate) fn is_of(&self, whole: &str) -> bool {
        let whole: Vec<&str> = whole.split("::").collect();
        match self.path.split_last() {
            Some((last, path)) if last == "*" && path.len() < whole.len() => whole.starts_with_all(path),
            _ => self.path.len() >= whole.len() && whole.starts_with_all(&self.path[..whole.len()]),
        }
    }
}

trait StartsWithAll {
    fn starts_with_all(&self, path: &[String]) -> bool;
}

impl StartsWithAll for Vec<&str> {
    fn starts_with_all(&self, path: &[String]) -> bool {
        path.iter()
            .zip(self)
            .all(|(of_path, of_whole)| of_path == of_whole)
    }
}

/// What is named in the file of a module, which is given from `crate` on.
pub(crate) fn named(tokens: &[Placed<'_>], module: &[&str]) -> Vec<Named> {
    let (mut found, mut aliases, mut others, mut at) = (Vec::new(), BTreeMap::new(), Vec::new(), 0);
    while at < tokens.len() {
        let is_use = tokens[at].word() == Some("use") && !tokens.get(at + 1).is_some_and(|next| next.is('<'));
        if is_use {
            let length = item_of_use(&tokens[at..]);
            branches(&tokens[at + 1..at + length], &[], &mut |path, alias, line| {
                let path = full(path, module);
                aliases.insert(alias.to_owned(), path.clone());
                let imported = true;
                found.push(Named { path, line, imported });
            });
            at += length;
        } else {
            let (path, length) = path(&tokens[at..]);
            if !path.is_empty() {
                others.push((path, tokens[at].line));
            }
            at += length.max(1);
        }
    }
    found.extend(others.into_iter().map(|(path, line)| {
        let path = match aliases.get(path[0]) {
            Some(alias) => [&alias[..], &full(&path, &[])[1..]].concat(),
            None => full(&path, module),
        };
        Named {
            path,
            line,
            imported: false,
        }
    }));
    found
}

fn item_of_use(tokens: &[Placed<'_>]) -> usize {
    tokens
        .iter()
        .position(|placed| placed.is(';'))
        .map_or(tokens.len(), |at| at + 1)
}

/// A name of one or more words, and how many tokens it has.
fn path<'t>(tokens: &[Placed<'t>]) -> (Vec<&'t str>, usize) {
    let (mut path, mut at) = (Vec::new(), 0);
    while let Some(word) = tokens.get(at).and_then(|placed| placed.word()) {
        path.push(word);
        at += 1;
        let goes_on = tokens.len() > at + 2 && tokens[at].is(':') && tokens[at + 1].is(':');
        if !goes_on || tokens[at + 2].word().is_none() {
            break;
        }
        at += 2;
    }
    (path, at)
}

/// Each leaf of the tree behind `use`: its name in full, the name it gets, its line.
fn branches<'t>(tokens: &[Placed<'t>], stem: &[&'t str], tell: &mut impl FnMut(&[&'t str], &str, usize)) {
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].line;
        let (words, length) = path(&tokens[at..]);
        at += length;
        let whole = [stem, &words[..]].concat();
        while tokens.get(at).is_some_and(|placed| placed.is(':')) {
            at += 1;
        }
        match tokens.get(at).map(|placed| placed.token) {
            Some(Token::Sign('{')) => {
                let end = at + group(&tokens[at..]);
                branches(&tokens[at + 1..end - 1], &whole, tell);
                at = end;
            }
            Some(Token::Sign('*')) => {
                tell(&[&whole[..], &["*"]].concat(), "*", line);
                at += 1;
            }
            Some(Token::Word("as")) => {
                let alias = tokens.get(at + 1).and_then(|placed| placed.word());
                tell(itself(&whole), alias.unwrap_or("_"), line);
                at += 2;
            }
            _ if !words.is_empty() => {
                let whole = itself(&whole);
                tell(whole, whole.last().unwrap_or(&"_"), line);
            }
            _ => {}
        }
        // Whatever is between one leaf and the next.
        at += usize::from(tokens.get(at).is_some_and(|placed| placed.word().is_none()));
    }
}

/// `a::{self}` is `a`.
fn itself<'p, 't>(path: &'p [&'t str]) -> &'p [&'t str] {
    match path {
        [before @ .., "self"] if !before.is_empty() => before,
        path => path,
    }
}

/// A name from `crate` on where it begins with `self` or `super`.
fn full(path: &[&str], module: &[&str]) -> Vec<String> {
    let is_relative = matches!(path.first(), Some(&"self" | &"super"));
    let mut whole: Vec<&str> = if is_relative { module.to_vec() } else { Vec::new() };
    for &word in path {
        match word {
            "self" if is_relative => {}
            "super" if is_relative => {
                whole.pop();
            }
            word => whole.push(word),
        }
    }
    whole.into_iter().map(str::to_owned).collect()
}

/// Name, first line and length of every function that has a body.
pub(crate) fn functions<'t>(tokens: &[Placed<'t>]) -> Vec<(&'t str, usize, usize)> {
    let heads = tokens.windows(2).enumerate();
    let heads = heads.filter(|(_, pair)| pair[0].word() == Some("fn"));
    heads
        .filter_map(|(at, pair)| {
            let rest = &tokens[at..];
            let last = rest.get(item(rest).checked_sub(1)?)?;
            let (name, first) = (pair[1].word()?, pair[0].line);
            last.is('}').then(|| (name, first, last.line - first + 1))
        })
        .collect()
}

/// A macro that is called.
#[derive(Debug)]
pub(crate) struct Call<'m, 't> {
    pub(crate) name: &'t str,
    pub(crate) line: usize,
    pub(crate) arguments: Vec<&'m [Placed<'t>]>,
}

pub(crate) fn macros<'m, 't>(tokens: &'m [Placed<'t>]) -> Vec<Call<'m, 't>> {
    let heads = tokens.windows(3).enumerate();
    let calls =
        heads.filter(|(_, head)| head[1].is('!') && ['(', '[', '{'].iter().any(|&sign| head[2].is(sign)));
    calls
        .filter_map(|(at, head)| {
            let inside = &tokens[at + 2..];
            Some(Call {
                name: head[0].word()?,
                line: head[0].line,
                arguments: arguments(&inside[1..group(inside).max(2) - 1]),
            })
        })
        .collect()
}

/// What stands between the commas that are in no group of their own.
fn arguments<'m, 't>(tokens: &'m [Placed<'t>]) -> Vec<&'m [Placed<'t>]> {
    let (mut found, mut from, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        match tokens[at].token {
            Token::Sign('(' | '[' | '{') => at += group(&tokens[at..]),
            Token::Sign(',') => {
                found.push(&tokens[from..at]);
                at += 1;
                from = at;
            }
            _ => at += 1,
        }
    }
    found.push(&tokens[from..]);
    found
}

/// The words of an argument, those that a text captures (`{name}`) included.
pub(crate) fn words<'t>(argument: &[Placed<'t>]) -> Vec<&'t str> {
    let mut found = Vec::new();
    for placed in argument {
        match placed.token {
            Token::Word(word) => found.push(word),
            Token::Text(text) => {
                let captured = text.split('{').skip(1).filter(|part| part.contains('}'));
                found.extend(captured.filter_map(|part| part.split(['}', ':']).next()));
            }
            Token::Sign(_) => {}
        }
    }
    found
}
