//! Components made to measure: a core module in text with one function body replaced, wrapped by `wit-component` with the
//! contract itself. No WebAssembly toolchain is needed.

use std::collections::BTreeMap;
use std::fmt::Write;

use sluice_core::policy::PolicyKind;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = include_str!("../../../../wit/policy.wit");

/// Where the static data begins; below it is a scratch area.
const DATA: usize = 4096;

/// A guest that behaves, except where told otherwise.
pub(crate) struct Guest {
    kind: PolicyKind,
    name: String,
    memo_format: u32,
    bodies: BTreeMap<&'static str, String>,
    version: &'static str,
    import: Option<(&'static str, &'static str)>,
    looks_up: bool,
    pages: usize,
    schema: String,
    data: Data,
    /// More fields of the module.
    fields: String,
    /// Instructions of `cabi_realloc` that leave an i32.
    realloc: String,
    /// Instructions behind the call of a function, once its answer was taken.
    posts: BTreeMap<&'static str, String>,
}

/// Static data: strings and records that bodies refer to by address.
struct Data {
    bytes: Vec<u8>,
    encoding: StringEncoding,
}

impl Data {
    fn put(&mut self, bytes: &[u8]) -> usize {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        let at = DATA + self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        at
    }

    /// Address and length, in units of the encoding.
    fn text(&mut self, text: &str) -> (usize, usize) {
        if self.encoding == StringEncoding::UTF8 {
            return (self.put(text.as_bytes()), text.len());
        }
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        (self.put(&units), units.len() / 2)
    }
}

/// A record under construction, little-endian.
#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn align(mut self, to: usize) -> Self {
        while !self.0.len().is_multiple_of(to) {
            self.0.push(0);
        }
        self
    }

    fn word(self, value: usize) -> Self {
        let mut aligned = self.align(4);
        aligned.0.extend_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        aligned
    }

    fn text(self, (at, length): (usize, usize)) -> Self {
        self.word(at).word(length)
    }

    fn f64(self, value: f64) -> Self {
        let mut aligned = self.align(8);
        aligned.0.extend_from_slice(&value.to_le_bytes());
        aligned
    }

    fn optional_f64(self, value: Option<f64>) -> Self {
        self.align(8).u8(u8::from(value.is_some())).f64(value.unwrap_or(0.0))
    }
}

/// What a grant says.
#[derive(Clone, Default)]
pub(crate) struct Grant {
    pub(crate) account: String,
    pub(crate) address: Option<String>,
    pub(crate) start: Option<f64>,
}

/// What an accrual says.
pub(crate) struct Accrual {
    pub(crate) account: &'static str,
    pub(crate) sats: u64,
    pub(crate) microsats: u32,
}

impl Guest {
    pub(crate) fn new(kind: PolicyKind, name: &str) -> Self {
        Self::encoded(kind, name, StringEncoding::UTF8)
    }

    /// Its strings are UTF-16.
    pub(crate) fn utf16(kind: PolicyKind, name: &str) -> Self {
        Self::encoded(kind, name, StringEncoding::UTF16)
    }

    fn encoded(kind: PolicyKind, name: &str, encoding: StringEncoding) -> Self {
        let mut guest = Self {
            kind,
            name: name.to_owned(),
            memo_format: 1,
            bodies: BTreeMap::new(),
            version: "0.1.0",
            import: None,
            looks_up: false,
            pages: 2,
            schema: String::new(),
            data: Data { bytes: Vec::new(), encoding },
            fields: String::new(),
            realloc: "(call $alloc (local.get 3))".to_owned(),
            posts: BTreeMap::new(),
        };
        match kind {
            PolicyKind::Auth => {
                let grant = Grant { account: name.to_owned(), ..Grant::default() };
                guest = guest.grants(&grant);
            }
            PolicyKind::Vardiff => guest = guest.decides(1000.0),
            PolicyKind::Payout => guest = guest.plans(1, 2.0),
        }
        guest
    }

    /// Replaces the body of a function: instructions that leave an i32.
    pub(crate) fn body(mut self, function: &'static str, body: &str) -> Self {
        self.bodies.insert(function, body.to_owned());
        self
    }

    /// Puts instructions before the body that a function has.
    pub(crate) fn body_before(self, function: &'static str, first: &str) -> Self {
        let rest = self.bodies.get(function).cloned().unwrap_or_default();
        let ((locals, first), (more, rest)) = (locals(first), locals(&rest));
        self.body(function, &format!("{locals} {more} {first} {rest}"))
    }

    pub(crate) fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Imports `lookup`: `$fetch` takes URL, option of a body, content type and where the answer goes.
    pub(crate) fn looks_up(mut self) -> Self {
        self.looks_up = true;
        self.version("0.1.1")
    }

    /// Imports a function without arguments of another package.
    pub(crate) fn imports(mut self, interface: &'static str, function: &'static str) -> Self {
        self.import = Some((interface, function));
        self
    }

    /// The JSON Schema of its settings.
    pub(crate) fn schema(mut self, schema: &str) -> Self {
        self.schema = schema.to_owned();
        self
    }

    pub(crate) fn pages(mut self, pages: usize) -> Self {
        self.pages = pages;
        self
    }

    /// More fields of the module: a start function, a table, globals.
    pub(crate) fn with(mut self, fields: &str) -> Self {
        self.fields.push_str(fields);
        self
    }

    /// What `cabi_realloc` does when the host wants room for arguments.
    pub(crate) fn realloc(mut self, body: &str) -> Self {
        body.clone_into(&mut self.realloc);
        self
    }

    /// What is done once the answer of `function` was taken.
    pub(crate) fn post(mut self, function: &'static str, body: &str) -> Self {
        self.posts.insert(function, body.to_owned());
        self
    }

    /// Puts these bytes where they are always found; returns their address.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> usize {
        self.data.put(bytes)
    }

    pub(crate) fn memo_format(mut self, format: u32) -> Self {
        self.memo_format = format;
        self
    }

    /// `authorize` answers with this grant.
    pub(crate) fn grants(mut self, grant: &Grant) -> Self {
        let account = self.data.text(&grant.account);
        let worker = self.data.text("rig");
        let address = self.data.text(grant.address.as_deref().unwrap_or(""));
        let record = Record::default()
            .u8(0)
            .align(8)
            .text(account)
            .text(worker)
            .u8(u8::from(grant.address.is_some()))
            .text(address)
            .optional_f64(grant.start)
            .optional_f64(None)
            .optional_f64(None);
        let at = self.data.put(&record.0);
        self.body("authorize", &format!("(i32.const {at})"))
    }

    /// `authorize` refuses with this text (unknown-user).
    pub(crate) fn refuses(mut self, text: &str) -> Self {
        let text = self.data.text(text);
        let record = Record::default().u8(1).align(8).u8(0).text(text);
        let at = self.data.put(&record.0);
        self.body("authorize", &format!("(i32.const {at})"))
    }

    /// `open` and every review answer with this difficulty, and hand the memo back with one byte more.
    pub(crate) fn decides(mut self, difficulty: f64) -> Self {
        let memo = self.data.text(&self.name.clone());
        let open = Record::default().u8(0).f64(difficulty).word(60_000).word(100).text(memo);
        let at = self.data.put(&open.0);
        let bits = difficulty.to_bits().cast_signed();
        let review = format!(
            "(local $i i32) (local $out i32) (local $ret i32)
             (local.set $out (call $alloc (i32.mul (local.get 1) (i32.const 24))))
             (local.set $ret (call $alloc (i32.const 16)))
             (i32.store (local.get $ret) (i32.const 0))
             (i32.store offset=4 (local.get $ret) (local.get $out))
             (i32.store offset=8 (local.get $ret) (local.get 1))
             (block $done (loop $next
               (br_if $done (i32.ge_u (local.get $i) (local.get 1)))
               (i64.store (local.get $out) (i64.const {bits}))
               (i32.store offset=8 (local.get $out) (i32.const 60000))
               (i32.store offset=12 (local.get $out) (i32.const 100))
               (i32.store offset=16 (local.get $out) (i32.const {memo}))
               (i32.store offset=20 (local.get $out) (i32.const {length}))
               (local.set $out (i32.add (local.get $out) (i32.const 24)))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br $next)))
             (local.get $ret)",
            memo = memo.0,
            length = memo.1,
        );
        self.body("open", &format!("(i32.const {at})")).body("review-all", &review)
    }

    /// `describe-plan` answers with a window of this tag and value; `settle` is proportional, the house gets what nobody
    /// earned.
    pub(crate) fn plans(mut self, tag: u8, value: f64) -> Self {
        let at = self.plan(tag, value, false);
        let house = Record::default().text((0, 0)).u8(0).align(8).f64(f64::from_bits(1)).text((0, 0));
        let house = self.data.put(&house.0);
        let settle = format!(
            "(local $i i32) (local $out i32) (local $ret i32) (local $in i32)
             (local.set $ret (call $alloc (i32.const 16)))
             (i32.store (local.get $ret) (i32.const 0))
             (if (i32.eqz (local.get 10)) (then
               (i32.store offset=4 (local.get $ret) (i32.const {house}))
               (i32.store offset=8 (local.get $ret) (i32.const 1))
               (return (local.get $ret))))
             (local.set $out (call $alloc (i32.mul (local.get 10) (i32.const 32))))
             (local.set $in (local.get 9))
             (i32.store offset=4 (local.get $ret) (local.get $out))
             (i32.store offset=8 (local.get $ret) (local.get 10))
             (block $done (loop $next
               (br_if $done (i32.ge_u (local.get $i) (local.get 10)))
               (i32.store (local.get $out) (i32.load (local.get $in)))
               (i32.store offset=4 (local.get $out) (i32.load offset=4 (local.get $in)))
               (i32.store8 offset=8 (local.get $out) (i32.const 0))
               (i64.store offset=16 (local.get $out) (i64.load offset=8 (local.get $in)))
               (i32.store offset=24 (local.get $out) (i32.const 0))
               (i32.store offset=28 (local.get $out) (i32.const 0))
               (local.set $out (i32.add (local.get $out) (i32.const 32)))
               (local.set $in (i32.add (local.get $in) (i32.const 24)))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br $next)))
             (local.get $ret)"
        );
        let empty = self.data.put(&Record::default().u8(0).word(0).word(0).0);
        self.body("describe-plan", &format!("(i32.const {at})"))
            .body("settle", &settle)
            .body("accrue", &format!("(i32.const {empty})"))
    }

    /// Window, per finder, accrues, pays balances.
    fn plan(&mut self, tag: u8, value: f64, accrues: bool) -> usize {
        let plan = Record::default().u8(tag).f64(value).u8(0).u8(u8::from(accrues)).u8(0).align(8);
        self.data.put(&plan.0)
    }

    /// The plan says that it accrues (no window), and `accrue` answers with these, whatever it is asked.
    pub(crate) fn accrues(mut self, accruals: &[Accrual]) -> Self {
        let mut records = Record::default();
        for Accrual { account, sats, microsats } in accruals {
            let (account, reason) = (self.data.text(account), self.data.text("by the share"));
            let amount = records.align(8).text(account).f64(f64::from_bits(*sats));
            records = amount.word(usize::try_from(*microsats).unwrap()).text(reason).align(8);
        }
        let list = self.data.put(&records.0);
        let answer = self.data.put(&Record::default().u8(0).word(list).word(accruals.len()).0);
        let plan = self.plan(3, 0.0, true);
        self.body("describe-plan", &format!("(i32.const {plan})"))
            .body("accrue", &format!("(i32.const {answer})"))
    }

    /// One entitlement to `account`, fixed or by weight.
    pub(crate) fn settles(mut self, account: &str, tag: u8, amount: u64, reason: &str) -> Self {
        let (account, reason) = (self.data.text(account), self.data.text(reason));
        let entitlement =
            Record::default().text(account).u8(tag).align(8).f64(f64::from_bits(amount)).text(reason);
        let list = self.data.put(&entitlement.0);
        let answer = self.data.put(&Record::default().u8(0).word(list).word(1).0);
        self.body("settle", &format!("(i32.const {answer})"))
    }

    /// `function` answers with an error of this tag where `when` (instructions that leave an i32) says so.
    pub(crate) fn fails(mut self, function: &'static str, tag: u8, text: &str, when: &str) -> Self {
        let text = self.data.text(text);
        // The payload lies at 4: configure, self-test and the lists.
        let record = self.data.put(&Record::default().u8(1).align(4).u8(tag).text(text).0);
        let otherwise = self.bodies.get(function).cloned().unwrap_or_else(|| "(i32.const 16)".to_owned());
        self.body(
            function,
            &format!(
                "{otherwise} (if (param i32) (result i32) {when} (then drop (i32.const {record})) (else))"
            ),
        )
    }

    pub(crate) fn build(mut self) -> Vec<u8> {
        let wit = self.contract();
        let mut wasm = wat::parse_str(self.module()).expect("the text is valid");
        let mut resolve = Resolve::default();
        let package = resolve.push_str("policy.wit", &wit).expect("the contract is valid");
        let world = resolve.select_world(&[package], Some("guest")).expect("there is a world");
        embed_component_metadata(&mut wasm, &resolve, world, self.data.encoding, false)
            .expect("metadata fit");
        let mut encoder = ComponentEncoder::default();
        encoder
            .validate(true)
            .module(&wasm)
            .expect("the module fits")
            .encode()
            .expect("the component is valid")
    }

    fn contract(&self) -> String {
        // What came later than this version is still there, to be imported or not.
        let mut wit =
            WIT.replace("@since(version = 0.1.1)", "").replace("@0.1.1", &format!("@{}", self.version));
        let kind = self.kind.label();
        let (mut import, mut package) = (String::new(), String::new());
        if let Some((interface, function)) = self.import {
            import = format!("import {interface};");
            let (path, version) = interface.split_once('@').unwrap_or((interface, "0.1.0"));
            let (name, interface) = path.split_once('/').expect("package/interface");
            package =
                format!("package {name}@{version} {{ interface {interface} {{ {function}: func(); }} }}\n");
        }
        let lookup = if self.looks_up { "import lookup;" } else { "" };
        let imports = format!("import log; {lookup} {import}");
        write!(wit, "\nworld guest {{ {imports} export lifecycle; export {kind}; }}\n{package}").unwrap();
        wit
    }

    fn module(&mut self) -> String {
        let texts = ["name", "version", "summary"].map(|field| match field {
            "name" => self.data.text(&self.name.clone()),
            "version" => self.data.text("1.2.3"),
            _ => self.data.text("made to measure"),
        });
        let schema = self.data.text(&self.schema.clone());
        let descriptor = Record::default()
            .text(texts[0])
            .text(texts[1])
            .text(texts[2])
            .text(schema)
            .word(usize::try_from(self.memo_format).unwrap());
        let descriptor = self.data.put(&descriptor.0);
        self.bodies.entry("describe").or_insert(format!("(i32.const {descriptor})"));
        // Zeros: the first case of everything.
        self.bodies.entry("configure").or_insert("(i32.const 16)".to_owned());
        self.bodies.entry("self-test").or_insert("(i32.const 16)".to_owned());
        let heap = DATA + self.data.bytes.len().next_multiple_of(16);
        let mut functions = String::new();
        for (interface, function, parameters) in signatures(self.kind) {
            let export = format!("sluice:policy/{interface}@{}#{function}", self.version);
            let body = &self.bodies[function];
            let post = self.posts.get(function).map_or("", String::as_str);
            write!(
                functions,
                "(func (export \"{export}\") (param {parameters}) (result i32) {body})
                 (func (export \"cabi_post_{export}\") (param i32)
                   (global.set $heap (i32.const {heap})) {post})\n"
            )
            .unwrap();
        }
        let import = self.import.map_or_else(String::new, |(interface, function)| {
            format!("(import \"{interface}\" \"{function}\" (func))")
        });
        let lookup = if self.looks_up {
            "(import \"sluice:policy/lookup@0.1.1\" \"fetch\"
               (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32)))"
        } else {
            ""
        };
        let data: String = self.data.bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!(
            "(module
               (import \"sluice:policy/log@{version}\" \"write\" (func $log (param i32 i32 i32)))
               {lookup}
               {import}
               (memory (export \"memory\") {pages})
               (data (i32.const {DATA}) \"{data}\")
               (global $heap (mut i32) (i32.const {heap}))
               (global $calls (mut i32) (i32.const 0))
               (func $alloc (param $size i32) (result i32)
                 (local $at i32)
                 (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                 (global.set $heap (i32.add (local.get $at) (local.get $size)))
                 (block $fits (loop $more
                   (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                   (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                   (br $more)))
                 (local.get $at))
               (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})
               {fields}
               (func $deep (param i32) (result i32)
                 (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
               {functions})",
            version = self.version,
            pages = self.pages,
            realloc = self.realloc,
            fields = self.fields,
        )
    }
}

/// Declarations of locals, and the instructions behind them.
fn locals(body: &str) -> (&str, &str) {
    let mut rest = body;
    while let Some(end) = rest.trim_start().strip_prefix("(local ").and_then(|text| text.find(')')) {
        rest = &rest.trim_start()["(local ".len() + end + 1..];
    }
    body.split_at(body.len() - rest.len())
}

/// An auth policy that is fine at its surface and does not compile: one instruction takes more than there is.
pub(crate) fn spoiled() -> Vec<u8> {
    let marker = 12_345.678_901_f64;
    let body = format!("(drop (f64.const {marker})) (i32.const 16)");
    let mut bytes = Guest::new(PolicyKind::Auth, "spoiled").body("authorize", &body).build();
    let at =
        bytes.windows(8).position(|window| window == marker.to_le_bytes()).expect("the constant is there");
    // drop becomes f64.add.
    assert_eq!(std::mem::replace(&mut bytes[at + 8], 0xa0), 0x1a);
    bytes
}

/// Interface, function and flattened parameters.
fn signatures(kind: PolicyKind) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut all = vec![
        ("lifecycle", "describe", ""),
        ("lifecycle", "configure", "i32 i32"),
        ("lifecycle", "self-test", ""),
    ];
    all.extend(match kind {
        PolicyKind::Auth => {
            vec![("auth", "authorize", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32")]
        }
        PolicyKind::Vardiff => vec![("vardiff", "open", "i32"), ("vardiff", "review-all", "i32 i32")],
        PolicyKind::Payout => vec![
            ("payout", "describe-plan", ""),
            ("payout", "settle", "i32 i32 i64 i64 i64 f64 i32 i32 f64 i32 i32"),
            ("payout", "accrue", "i32 i32"),
        ],
    });
    all
}

pub(crate) const LOOP: &str = "(loop $for_ever (br $for_ever)) (unreachable)";
/// The instruction that no plan survives.
pub(crate) const TRAP: &str = "(unreachable)";
/// Asks for memory until it is refused, then gives up.
pub(crate) const HOARD: &str =
    "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
pub(crate) const RECURSE: &str = "(call $deep (i32.const 1))";
