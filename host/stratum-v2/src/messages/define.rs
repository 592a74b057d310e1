//! The form in which messages are written down.

/// A struct and its [`Message`](super::Message), from `Name, "Name in the specification": extension, number, channel
/// bit { field: type = wire type }`. Fields in the order of the wire; the wire type is a method of
/// [`Reader`](crate::wire::Reader) and a function of [`put`](crate::wire::put).
macro_rules! message {
    (
        $(#[$about:meta])*
        $name:ident $(<$life:lifetime>)?, $text:literal: $extension:expr, $number:literal, $channel:literal {
            $($(#[$doc:meta])* $field:ident: $type:ty = $wire:ident,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name $(<$life>)? {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl<'a> $crate::messages::Message<'a> for $name $(<$life>)? {
            const NAME: &'static str = $text;
            const EXTENSION: u16 = $extension;
            const TYPE: u8 = $number;
            const CHANNEL_MESSAGE: bool = $channel;

            #[inline]
            fn decode(
                reader: &mut $crate::wire::Reader<'a>,
            ) -> Result<Self, $crate::wire::Malformed> {
                Ok(Self { $($field: reader.$wire(stringify!($field))?,)* })
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::wire::put::$wire(out, self.$field);)*
            }
        }
    };
}
