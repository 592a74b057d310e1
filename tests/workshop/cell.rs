//! The table: a cell is a language, a kind, and the line that its author changes.

use std::fmt;

use sluice_tests::miner::address;

/// What a plugin is written in, and what it is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    QuickJs,
    StarlingMonkey,
    Python,
    C,
}

/// What a plugin decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Auth,
    Vardiff,
    Payout,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) language: Language,
    pub(crate) kind: Kind,
}

/// In every `file`, `from` becomes `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit {
    pub(crate) file: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// Who is let in by the starter's open door, and kept out by the edit.
pub(crate) const BANNED: &str = "mallory";
/// What the edit says to who is kept out.
pub(crate) const BAN: &str = "mallory is banned";
/// The most that the starter goes up at once, and the edited one.
pub(crate) const STEPS: [f64; 2] = [16.0, 4.0];
/// Stands in an edit for the account whose work counts twice from then on.
const FRIEND: &str = "FRIEND";

/// The account whose work counts twice after the edit.
pub(crate) fn friend() -> bitcoin::Address {
    address(702)
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Language {
    /// As `--lang` has it.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::QuickJs | Self::StarlingMonkey => "javascript",
            Self::Python => "python",
            Self::C => "c",
        }
    }
}

impl Kind {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Vardiff => "vardiff",
            Self::Payout => "payout",
        }
    }

    /// What the starter calls itself.
    pub(crate) const fn starter(self) -> &'static str {
        match self {
            Self::Auth => "address-book",
            Self::Vardiff => "simple-vardiff",
            Self::Payout => "proportional",
        }
    }
}

impl Edit {
    pub(crate) fn apply(&self, text: &str) -> Option<String> {
        let to = self.to.replace(FRIEND, &friend().to_string());
        text.contains(self.from).then(|| text.replace(self.from, &to))
    }
}

impl Cell {
    /// Before the first build.
    pub(crate) const fn choices(self) -> &'static [Edit] {
        match self.language {
            Language::StarlingMonkey => {
                &[Edit { file: "plugin.toml", from: "\"quickjs\"", to: "\"starlingmonkey\"" }]
            }
            _ => &[],
        }
    }

    /// What the author changes once the pool runs the first build.
    pub(crate) const fn edits(self) -> &'static [Edit] {
        match self.kind {
            Kind::Auth => ban(self.language),
            Kind::Vardiff => smaller_steps(self.language),
            Kind::Payout => bonus(self.language),
        }
    }
}

/// One account stays outside, whatever `open` says.
const fn ban(language: Language) -> &'static [Edit] {
    match language {
        Language::Rust => &[Edit {
            file: "src/policy.rs",
            from: "        let Some(account) = self.accounts.get(name) else {",
            to: "        if name == \"mallory\" {\n            \
                 return Err(Refusal::UnknownUser(\"mallory is banned\".to_owned()));\n        }\n        \
                 let Some(account) = self.accounts.get(name) else {",
        }],
        Language::QuickJs | Language::StarlingMonkey => &[Edit {
            file: "policy.js",
            from: "    const entry = this.accounts.get(account);",
            to: "    if (account === \"mallory\") throw new Refusal(\"unknown-user\", \"mallory is banned\");\n    \
                 const entry = this.accounts.get(account);",
        }],
        Language::Python => &[Edit {
            file: "plugin.py",
            from: "        if account not in self.accounts:",
            to: "        if account == \"mallory\":\n            \
                 raise Err(Refusal_UnknownUser(\"mallory is banned\"))\n        \
                 if account not in self.accounts:",
        }],
        Language::C => &[Edit {
            file: "plugin.c",
            from: "    const account_t *account = find(name);",
            to: "    if (equal(name, \"mallory\")) {\n        \
                 return refuse(refusal, EXPORTS_AUTH_REFUSAL_UNKNOWN_USER, \"mallory is banned\");\n    }\n    \
                 const account_t *account = find(name);",
        }],
    }
}

/// At most 4 times up at once, and the author's own questions with it: without that, `plugin test` fails.
const fn smaller_steps(language: Language) -> &'static [Edit] {
    const ASKED: [Edit; 2] = [asked("tests/policy.toml"), asked("tests/seldom.toml")];
    const fn asked(file: &'static str) -> Edit {
        Edit { file, from: "difficulty = 16384", to: "difficulty = 4096" }
    }
    const fn step(file: &'static str, from: &'static str, to: &'static str) -> [Edit; 3] {
        [Edit { file, from, to }, ASKED[0], ASKED[1]]
    }
    match language {
        Language::Rust => &const { step("src/policy.rs", "STEP_UP: f64 = 16.0;", "STEP_UP: f64 = 4.0;") },
        Language::QuickJs | Language::StarlingMonkey => {
            &const { step("policy.js", "const STEP_UP = 16;", "const STEP_UP = 4;") }
        }
        Language::Python => &const { step("plugin.py", "STEP_UP = 16\n", "STEP_UP = 4\n") },
        Language::C => &const { step("plugin.c", "double STEP_UP = 16;", "double STEP_UP = 4;") },
    }
}

/// The work of one account counts twice.
const fn bonus(language: Language) -> &'static [Edit] {
    match language {
        Language::Rust => &[Edit {
            file: "src/policy.rs",
            from: "Entitlement::weight(&one.account, one.work, WORK)",
            to: "Entitlement::weight(&one.account, one.work * if one.account == \"FRIEND\" { 2 } else { 1 }, WORK)",
        }],
        Language::QuickJs | Language::StarlingMonkey => &[Edit {
            file: "policy.js",
            from: "weight(account, work, \"work in this round\")",
            to: "weight(account, account === \"FRIEND\" ? 2 * work : work, \"work in this round\")",
        }],
        Language::Python => &[Edit {
            file: "plugin.py",
            from: "Portion_Weight(c.work), \"work in this round\")",
            to: "Portion_Weight(c.work * (2 if c.account == \"FRIEND\" else 1)), \"work in this round\")",
        }],
        Language::C => &[
            Edit {
                file: "plugin.c",
                from: "#include \"settings.h\"",
                to: "#include \"settings.h\"\n\n#include <string.h>",
            },
            Edit {
                file: "plugin.c",
                from: "            entitle(&answer, &contribution->account, weight(contribution->work), \"work in this round\");",
                to: "            const policy_string_t *name = &contribution->account;\n            \
                     const char friend[] = \"FRIEND\";\n            \
                     bool twice = name->len == sizeof friend - 1 && memcmp(name->ptr, friend, name->len) == 0;\n            \
                     entitle(&answer, name, weight(contribution->work * (twice ? 2 : 1)), \"work in this round\");",
            },
        ],
    }
}
