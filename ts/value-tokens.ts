/** The first byte of everything in a value's notes; see `src/values/mod.rs`. */
export enum Token {
  Null,
  True,
  False,
  Integer,
  Double,
  Text,
  Units,
  Ascii,
  Latin1,
  Json,
  Array,
  Object,
  Extended,
  Message,
  Marked,
}
