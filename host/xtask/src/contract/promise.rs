//! Whether a version of the contract keeps what an earlier one of its track promised: a plugin built against that one
//! has to load and be understood.

use std::collections::BTreeMap;

use wit_bindgen_core::wit_parser::{
    Function, Handle, InterfaceId, PackageId, Resolve, Type, TypeDefKind, TypeId, WorldId, WorldItem,
    WorldKey,
};

/// A package among what was read.
type Contract<'a> = (&'a Resolve, PackageId);

/// Interfaces that the host offers: functions may be added. All others belong to the plugin, which cannot have what was
/// not there when it was built.
const OFFERED: [&str; 3] = ["types", "log", "lookup"];

/// What is broken, a line each.
pub(super) fn broken(then: Contract<'_>, now: Contract<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    let new = interfaces(now);
    for (name, old) in interfaces(then) {
        match new.get(name) {
            Some(new) => broken.extend(changes(name, (then.0, old), (now.0, *new))),
            None => broken.push(format!("interface {name} is gone")),
        }
    }
    let new = worlds(now);
    for (name, old) in worlds(then) {
        match new.get(name) {
            Some(new) if *new == old => {}
            Some(new) => broken.push(format!("world {name} was {{ {old} }} and is {{ {new} }}")),
            None => broken.push(format!("world {name} is gone")),
        }
    }
    broken
}

fn changes(
    name: &str,
    (then, old): (&Resolve, InterfaceId),
    (now, new): (&Resolve, InterfaceId),
) -> Vec<String> {
    let (old, new) = (shapes(then, old), shapes(now, new));
    let mut changes: Vec<String> = old
        .iter()
        .filter_map(|(item, was)| match new.get(item) {
            Some(is) if is == was => None,
            Some(is) => Some(format!("{name}.{item} was {was} and is {is}")),
            None => Some(format!("{name}.{item} is gone")),
        })
        .collect();
    if !OFFERED.contains(&name) {
        let added = new.keys().filter(|item| !old.contains_key(*item));
        changes.extend(added.map(|item| format!("{name}.{item} is new: an earlier plugin does not have it")));
    }
    changes
}

fn interfaces((resolve, package): Contract<'_>) -> BTreeMap<&str, InterfaceId> {
    let package = resolve.packages.get(package);
    package
        .into_iter()
        .flat_map(|package| &package.interfaces)
        .map(|(name, id)| (name.as_str(), *id))
        .collect()
}

/// Every type and function by name, written out down to what is built in.
fn shapes(resolve: &Resolve, id: InterfaceId) -> BTreeMap<String, String> {
    let Some(interface) = resolve.interfaces.get(id) else { return BTreeMap::new() };
    let types = interface.types.iter().map(|(name, id)| (name.clone(), named(resolve, *id)));
    let functions = interface.functions.iter().map(|(name, it)| (name.clone(), function(resolve, it)));
    types.chain(functions).collect()
}

fn function(resolve: &Resolve, function: &Function) -> String {
    let of = |ty: &Type| shape(resolve, ty);
    let params: Vec<String> =
        function.params.iter().map(|param| format!("{}: {}", param.name, of(&param.ty))).collect();
    let result = function.result.as_ref().map_or("nothing".to_owned(), of);
    format!("{:?}({}) -> {result}", function.kind, params.join(", "))
}

fn shape(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => named(resolve, *id),
        built_in => format!("{built_in:?}").to_lowercase(),
    }
}

fn named(resolve: &Resolve, id: TypeId) -> String {
    let of = |ty: &Type| shape(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), of);
    let list = |items: Vec<String>| items.join(", ");
    match resolve.types.get(id).map(|found| &found.kind) {
        Some(TypeDefKind::Record(record)) => {
            let field = |field: &_| -> String {
                let wit_bindgen_core::wit_parser::Field { name, ty, .. } = field;
                format!("{name}: {}", of(ty))
            };
            format!("record {{ {} }}", list(record.fields.iter().map(field).collect()))
        }
        Some(TypeDefKind::Variant(variant)) => {
            let cases = variant.cases.iter().map(|case| format!("{}({})", case.name, maybe(&case.ty)));
            format!("variant {{ {} }}", list(cases.collect()))
        }
        Some(TypeDefKind::Enum(cases)) => {
            format!("enum {{ {} }}", list(cases.cases.iter().map(|case| case.name.clone()).collect()))
        }
        Some(TypeDefKind::Flags(flags)) => {
            format!("flags {{ {} }}", list(flags.flags.iter().map(|flag| flag.name.clone()).collect()))
        }
        Some(TypeDefKind::Tuple(tuple)) => format!("tuple<{}>", list(tuple.types.iter().map(of).collect())),
        Some(TypeDefKind::Option(inner)) => format!("option<{}>", of(inner)),
        Some(TypeDefKind::Result(result)) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        Some(TypeDefKind::List(inner)) => format!("list<{}>", of(inner)),
        Some(TypeDefKind::Map(key, value)) => format!("map<{}, {}>", of(key), of(value)),
        Some(TypeDefKind::FixedLengthList(inner, length)) => format!("list<{}, {length}>", of(inner)),
        Some(TypeDefKind::Future(inner)) => format!("future<{}>", maybe(inner)),
        Some(TypeDefKind::Stream(inner)) => format!("stream<{}>", maybe(inner)),
        Some(TypeDefKind::Type(alias)) => of(alias),
        Some(TypeDefKind::Resource) => "resource".to_owned(),
        Some(TypeDefKind::Handle(Handle::Own(_))) => "own".to_owned(),
        Some(TypeDefKind::Handle(Handle::Borrow(_))) => "borrow".to_owned(),
        Some(TypeDefKind::Unknown) | None => "unknown".to_owned(),
    }
}

/// Every world, as `import a; export b`, sorted.
fn worlds((resolve, package): Contract<'_>) -> BTreeMap<&str, String> {
    let package = resolve.packages.get(package);
    let worlds = package.into_iter().flat_map(|package| &package.worlds);
    worlds.map(|(name, id)| (name.as_str(), world(resolve, *id))).collect()
}

fn world(resolve: &Resolve, id: WorldId) -> String {
    let Some(world) = resolve.worlds.get(id) else { return String::new() };
    let name = |(key, item): (&WorldKey, &WorldItem)| match item {
        WorldItem::Interface { id, .. } => resolve.interfaces.get(*id).and_then(|it| it.name.clone()),
        _ => Some(resolve.name_world_key(key)),
    };
    let line = |word: &str, items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| -> Vec<String> {
        items.filter_map(name).map(|name| format!("{word} {name}")).collect()
    };
    let mut lines = line("import", &mut world.imports.iter());
    lines.extend(line("export", &mut world.exports.iter()));
    lines.sort();
    lines.join("; ")
}

#[cfg(test)]
mod tests;
