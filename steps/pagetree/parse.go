package pagetree

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unsafe"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// The limits of a page's tree. A page of 10 MB whose markup is as short as markup can be has five million nodes of 112
// bytes. A few formatting elements that it never closes multiply that: the parser opens them again in each paragraph
// (HTML §13.2.4.3), so that 20 of them make 700,000 nodes of 260 KB.
var (
	NodesLimit = limit.Define(limit.Limit{Subject: "web page", What: "the page", Unit: "nodes (elements, texts and comments)", Most: 300_000,
		Setting: "limits.page_nodes"})
	depthLimit     = limit.Define(limit.Limit{Subject: "web page", What: "the page", Unit: "levels of nested elements", Most: 512})
	attributeLimit = limit.Define(limit.Limit{Subject: "web page", What: "an element of the page", Unit: "attributes", Most: 2000})
)

// The memory of a tree, as measured: without the texts, which are as long as the source at most.
const (
	nodeBytes      = 112
	attributeBytes = 64 // with the room that the list has for more
)

// Parse parses a page with scripting enabled, so noscript is not text, and puts the content of slots into shadow trees
// (Flatten). It stops as soon as the tree exceeds a limit, before all of it is built: most is the largest number of
// nodes, or 0 for the default. size is about the memory of the tree in bytes. The error is a *limit.Error or the cause
// of ctx's end.
func Parse(ctx context.Context, source []byte, most int64) (doc *html.Node, size int64, err error) {
	w := &watch{ctx: ctx, rest: source, close: len(source) > 32*part, nodes: NodesLimit.With(most)}
	doc, err = html.ParseWithOptions(w, html.ParseOptionEnableScripting(true), w.attend())
	switch {
	case err == nil:
		err = w.measure(doc)
	case w.err != nil:
		err = w.err
	case strings.Contains(err.Error(), "open stack of elements"): // the library has this limit itself
		err = depthLimit.Exceeded()
	}
	if err != nil {
		return nil, 0, err
	}
	Flatten(source, doc)
	for n := range doc.Descendants() {
		condense(n)
	}
	return doc, int64(len(source)) + w.count*nodeBytes + w.attributes*attributeBytes, nil
}

// watch hands a page to the parser in parts, and looks at the unfinished tree before each of them: there is no other
// place to stop the parser.
type watch struct {
	ctx    context.Context
	rest   []byte
	close  bool // the page is so long that it is worth to count formatting elements
	nodes  limit.Limit
	err    error
	parser reflect.Value // the parser, of a type that is not exported

	count      int64 // nodes at the last look
	attributes int64 // of them
	since      int64 // how many more there may be now, at most
	looked     int64 // nodes that all looks have visited
}

const (
	// part is how much of a page the parser gets at once: as much as its buffer holds.
	part = 4096

	// tangle is how many times the limit of nodes all looks may visit. A page that needs more has so many formatting
	// elements open that nobody can say without a look at each part how large it is.
	tangle = 50
)

// Read hands over the next part, or ends the parser with an error.
func (w *watch) Read(p []byte) (int, error) {
	if len(w.rest) == 0 {
		return 0, io.EOF
	}
	if w.err = w.look(); w.err != nil {
		return 0, w.err
	}
	n := copy(p[:min(len(p), part)], w.rest)
	w.since += w.upper(w.rest[:n])
	w.rest = w.rest[n:]
	return n, nil
}

// upper returns how many nodes the parser can make of a part at most: an element and a text of each tag, and before
// them, again, each formatting element that is open or begins in the part.
func (w *watch) upper(part []byte) int64 {
	tags := int64(bytes.Count(part, []byte("<")))
	formatting := int64(w.parser.Field(fields.afe).Len())
	if !w.close {
		formatting += tags
	} else {
		for {
			at := bytes.IndexByte(part, '<')
			if at < 0 || at+1 == len(part) {
				break
			}
			if part = part[at+1:]; formats(part) {
				formatting++
			}
		}
	}
	return (tags + 1) * (2 + min(formatting+1, depthLimit.Most)) // one more, of which only the end is in this part
}

// formats reports whether a tag may begin a formatting element. Of links only one is open at a time.
func formats(tag []byte) bool {
	end := 0
	for end < len(tag) && end <= len("strong") && tag[end]|0x20 >= 'a' && tag[end]|0x20 <= 'z' {
		end++
	}
	switch strings.ToLower(string(tag[:end])) {
	case "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u":
		return true
	}
	return false
}

// look checks the unfinished tree.
func (w *watch) look() error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	// The unfinished tag, and the two elements that get attributes from later tags (HTML §13.2.6.4.7): html and body.
	longest := w.parser.Field(fields.tokenizer).Elem().Field(fields.attr).Len()
	open := w.parser.Field(fields.oe)
	for i := range min(open.Len(), 2) {
		longest = max(longest, len(node(open.Index(i)).Attr))
	}
	if int64(longest) > attributeLimit.Most {
		return attributeLimit.Exceeded()
	}
	if w.count+w.since <= w.nodes.Most {
		return nil
	}
	if err := w.measure(node(w.parser.Field(fields.doc))); err != nil {
		return err
	}
	if w.looked += w.count; w.looked > tangle*w.nodes.Most {
		return w.nodes.Exceeded()
	}
	return nil
}

// measure counts the nodes and attributes of a tree and checks their limits.
func (w *watch) measure(doc *html.Node) error {
	w.count, w.attributes, w.since = 0, 0, 0
	for n := range doc.Descendants() {
		if w.count++; w.count > w.nodes.Most {
			return w.nodes.Exceeded()
		}
		w.attributes += int64(len(n.Attr))
		if int64(len(n.Attr)) > attributeLimit.Most {
			return attributeLimit.Check(int64(len(n.Attr)))
		}
	}
	return nil
}

// Memory returns about how many bytes a tree takes, with its texts.
func Memory(doc *html.Node) (bytes int64) {
	for n := range doc.Descendants() {
		bytes += nodeBytes + int64(len(n.Data)) + int64(len(n.Attr))*attributeBytes
		for _, a := range n.Attr {
			bytes += int64(len(a.Val))
		}
	}
	return bytes
}

// attend returns an option for the parser that remembers it. The type of an option is exported, that of its argument is
// not.
func (w *watch) attend() html.ParseOption {
	option := reflect.MakeFunc(reflect.TypeFor[html.ParseOption](), func(args []reflect.Value) []reflect.Value {
		w.parser = args[0].Elem()
		return nil
	})
	return option.Interface().(html.ParseOption) //nolint:forcetypeassert // it was made for this type
}

// node returns a node from a field of the parser.
func node(field reflect.Value) *html.Node {
	return (*html.Node)(unsafe.Pointer(field.Pointer())) //nolint:gosec // fieldsOf has checked the type
}

// fields are the places of the parser's fields that watch reads: its document, the open elements, the formatting
// elements to open again, the tokenizer, and in that the attributes of the current tag.
var fields = fieldsOf(reflect.TypeFor[html.ParseOption]().In(0).Elem())

type parserFields struct{ doc, oe, afe, tokenizer, attr int }

// fieldsOf panics if a new version of the library has other fields; every test of the package says so then.
func fieldsOf(parser reflect.Type) parserFields {
	find := func(in reflect.Type, name string, fits func(reflect.Type) bool) int {
		f, found := in.FieldByName(name)
		if !found || !fits(f.Type) {
			panic(fmt.Sprintf("golang.org/x/net/html: %s has no field %s of the known type: adapt pagetree.Parse", in, name))
		}
		return f.Index[0]
	}
	is := func(want reflect.Type) func(reflect.Type) bool {
		return func(got reflect.Type) bool { return got == want }
	}
	nodes := func(got reflect.Type) bool {
		return got.Kind() == reflect.Slice && got.Elem() == reflect.TypeFor[*html.Node]()
	}
	tokenizer := reflect.TypeFor[html.Tokenizer]()
	return parserFields{
		doc: find(parser, "doc", is(reflect.TypeFor[*html.Node]())), oe: find(parser, "oe", nodes), afe: find(parser, "afe", nodes),
		tokenizer: find(parser, "tokenizer", is(reflect.PointerTo(tokenizer))),
		attr:      find(tokenizer, "attr", func(got reflect.Type) bool { return got.Kind() == reflect.Slice }),
	}
}
