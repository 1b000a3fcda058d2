// Package redact removes secrets from texts: as they are, and in the forms in which servers, pages and programs repeat
// them. It knows nothing of a run.
//
// A text is read once, from its beginning to its end, by one automaton for all forms of all secrets (Aho-Corasick). What
// can be read in several ways is read in all of them at once: "&#115;" is six characters and an "s"; a tag is text and
// nothing; "+" is itself and a blank. Each way of reading is a state of the automaton with the places that its last
// characters came from. Equal states are one, and there are at most 32, so the work is linear in the length of the text.
// Between the forms of secrets, which is nearly everywhere, the text is only looked at for pairs of bytes with which one may
// begin (pairs.go); the automaton reads on from there (scan.go), and decodes what may be an escape (read.go).
//
// # What is recognised
//
// Any mix of: character references of HTML (names, decimal, hexadecimal), percent-encoding, quoted-printable, escapes with
// backslashes (JSON, C, shells; also octal), each of them also encoded again; tags and comments of HTML in between; the
// character strings of a DNS record, soft line breaks; encoded words (RFC 2047), UTF-7 (RFC 2152, RFC 3501 section 5.1.3);
// ISO 8859-1 and UTF-8, one taken for the other, and UTF-16. Then base64 (standard and URL-safe, at each alignment, so also
// inside AUTH PLAIN, Basic and XOAUTH2) and hexadecimal digits (also with blanks, colons, hyphens, commas or 0x between the
// bytes), both also with line breaks inside. A text inside a base64 token of 24 characters or more is read as well.
//
// How much else depends on the secret, because a short one would be found in many texts:
//
//   - Below four characters, only the secret itself and its escaped forms, and only where it stands alone: "123" in
//     "pin=123", but not in "0.123" or "4123".
//   - From four characters on, everything above, in the case of the secret.
//   - From eight characters on, or six of two kinds (lower case, upper case, digits, others), also in other case, and with
//     blanks, line breaks and the codes of replies ("250-", "* ") between its characters.
//   - Next to a cut mark ("…"), a beginning or an end of at least three characters.
//   - Each line of at least eight characters of a secret of several lines; a part of 48 bytes of a long secret.
//
// A match is replaced by Hidden, together with the rest of a base64 or hexadecimal token.
//
// # What is not
//
// A secret that is compressed, encrypted, reversed, hashed, in base32 or in base64 of base64 of a short text, spelled in
// words, drawn in a picture, or with other text between its characters. A redactor protects against servers that repeat a
// secret, not against one that wants it seen.
package redact
