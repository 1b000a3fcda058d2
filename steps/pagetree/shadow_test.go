package pagetree

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func FuzzFlatten(f *testing.F) {
	for _, source := range []string{
		`<x-a><template shadowrootmode=open><b><slot>f</slot></b></template>t<i>e</i></x-a>`,
		`<x-a><template shadowrootmode=closed><slot name=n></slot><slot name=n></slot></template><p slot=n>1</p><p slot=m>2</p></x-a>`,
		`<x-a><template shadowrootmode=open><x-b><template shadowrootmode=open><slot></slot></template><slot></slot></x-b></template>t</x-a>`,
		`0<template shadowrootmode=open><slot><template shadowrootmode=open>`, `<template shadowrootmode=open><slot></slot></template>`, `<x-a><template shadowrootmode=open><slot><template shadowrootmode=open></template></slot></template></x-a>`,
	} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		root, err := html.Parse(strings.NewReader(source))
		if err != nil {
			t.Skip()
		}
		Flatten([]byte(source), root)
		known := map[*html.Node]bool{}
		for n := range root.Descendants() {
			known[n] = true
		}
		written, originals := Written(root)
		seen := map[*html.Node]bool{}
		for n := range written.Descendants() {
			if originals != nil {
				n = originals[n]
			}
			if n == nil || !known[n] || seen[n] {
				t.Fatalf("%q: as written, a node is missing, unknown or there twice", source)
			}
			seen[n] = true
		}
		if len(seen) != len(known) {
			t.Errorf("%q: %d nodes as written, %d as displayed", source, len(seen), len(known))
		}
		VisibleText(root)
	})
}

func FuzzTaken(f *testing.F) {
	f.Add("text", "5", "12345678")
	f.Add("textarea", "3", "a\r\nb\nc")
	f.Add("password", "1", "😀")
	f.Add("number", "", "1e5")
	f.Add("datetime-local", "", "2026-11-30 10:00:00")
	f.Add("email", "2", " a@b ")
	f.Fuzz(func(t *testing.T, kind, most, text string) {
		field := &html.Node{Type: html.ElementNode, Data: "input", Attr: []html.Attribute{{Key: "type", Val: kind}, {Key: "maxlength", Val: most}}}
		taken := Taken(field, text)
		if Taken(field, taken) != taken {
			t.Errorf("type %q, maxlength %q: takes %q of %q, and less of that", kind, most, taken, text)
		}
		if strings.ToValidUTF8(text, "") == text && taken == text && Compare(field, text, taken) != TookAll {
			t.Errorf("type %q: took all of %q, and is said not to", kind, text)
		}
	})
}

// TestCompare has what a page may do to a text that was typed.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		kind, text, value string
		want              Took
	}{
		{"text", "12345678", "12345", TookPart}, {"text", "abc!!!", "abc", TookPart}, {"text", "!!!", "!!", TookPart}, {"text", "", "", TookAll},
		{"text", "Ann ", "Ann", TookOtherwise}, {"text", "1234", "12 34", TookOtherwise}, {"text", "ann", "ANN", TookOtherwise}, {"text", "Ber", "Berlin", TookOtherwise},
		{"text", "a\nb", "ab", TookAll}, {"password", "a-b", "ab", TookPart}, {"password", "ab", "AB", TookPart}, {"email", " a@b.test ", "a@b.test", TookAll},
		{"number", "007", "7", TookAll}, {"number", "12a", "12", TookPart}, {"time", "10:30:00", "10:30", TookAll}, {"time", "10:30:15", "10:30", TookPart},
		{"datetime-local", "2026-11-30 10:00", "2026-11-30T10:00", TookAll}, {"color", "#FF0000", "#ff0000", TookAll}, {"color", "red", "#000000", TookPart},
		{"range", "500", "100", TookPart},
	} {
		field := &html.Node{Type: html.ElementNode, Data: "input", Attr: []html.Attribute{{Key: "type", Val: c.kind}}}
		if got := Compare(field, c.text, c.value); got != c.want {
			t.Errorf("%s: typed %q, has %q: got %d, want %d", c.kind, c.text, c.value, got, c.want)
		}
	}
}
