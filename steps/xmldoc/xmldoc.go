// Package xmldoc reads the XML responses of websites: the values that an XPath selects, and two kinds that every site
// has, feeds (RSS 0.9 to 2.0, Atom of RFC 4287) and sitemaps (sitemaps.org). It does not know sentences and judges
// nothing.
//
// Documents come from outside: one that is not well-formed, or exceeds a limit, is an error. External entities and
// document types are not read.
package xmldoc

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/antchfx/xmlquery"
	"github.com/antchfx/xpath"
	"golang.org/x/net/html/charset"

	"github.com/stepwatch/stepwatch/steps/date"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/selector"
)

// The limits of a document. Only an XPath needs a tree, whose nodes count in the memory of the run; feeds and sitemaps are
// read without one.
var (
	nodesLimit = limit.Define(limit.Limit{Subject: "XML", What: "the document", Unit: "elements, texts and comments", Most: 1_000_000})
	depthLimit = limit.Define(limit.Limit{Subject: "XML", What: "the document", Unit: "levels of nested elements", Most: 500}) // reading their text recurses
	itemsLimit = limit.Define(limit.Limit{Subject: "XML", What: "the feed", Unit: "items", Most: 100_000})
)

// The memory of a tree, as measured; without the texts, which are as long as the source at most.
const (
	nodeBytes      = 144
	attributeBytes = 100
)

var errNoElement = errors.New("it has no element")

// Document is a well-formed XML document.
type Document struct {
	ctx      context.Context // of the step that reads it
	body     []byte
	encoding func(label string, in io.Reader) (io.Reader, error)
	root     string
	size     int64 // bytes of its tree
}

// Parse reads a document in any encoding that it declares. It is read until ctx ends.
func Parse(ctx context.Context, body []byte) (*Document, error) {
	return parse(ctx, body, charset.NewReaderLabel)
}

// ParseDecoded reads a document that was already converted to UTF-8, whatever encoding it declares.
func ParseDecoded(ctx context.Context, body []byte) (*Document, error) {
	return parse(ctx, body, func(_ string, in io.Reader) (io.Reader, error) { return in, nil })
}

func parse(ctx context.Context, body []byte, encoding func(label string, in io.Reader) (io.Reader, error)) (*Document, error) {
	d := &Document{ctx: ctx, body: body, encoding: encoding}
	nodes, attributes := int64(0), int64(0)
	err := d.tokens(func(token xml.Token, path []string) error { // this checks that each element is closed
		if start, is := token.(xml.StartElement); is {
			attributes += int64(len(start.Attr))
			if d.root == "" {
				d.root = start.Name.Local
			}
			if err := depthLimit.Check(int64(len(path))); err != nil {
				return err
			}
		}
		if _, is := token.(xml.EndElement); !is {
			nodes++
		}
		if nodes > nodesLimit.Most {
			return nodesLimit.Exceeded()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if d.root == "" {
		return nil, errNoElement
	}
	d.size = int64(len(body)) + nodes*nodeBytes + attributes*attributeBytes
	return d, nil
}

// tokens calls take with each token, and the names of the open elements; those of start and end tags include their own.
func (d *Document) tokens(take func(token xml.Token, path []string) error) error {
	decoder := xml.NewDecoder(lifeline.Reader(d.ctx, d.body))
	decoder.CharsetReader = d.encoding
	var path []string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if start, is := token.(xml.StartElement); is {
			path = append(path, start.Name.Local)
		}
		if err := take(token, path); err != nil {
			return err
		}
		if _, is := token.(xml.EndElement); is {
			path = path[:len(path)-1]
		}
	}
}

// Root returns the name of the root element, without its prefix.
func (d *Document) Root() string { return d.root }

// Select returns the texts of the nodes that an XPath (1.0) selects, without white space around them. For an expression
// with another result, it returns the number, the text or the boolean. memory is the account of the run while the tree
// exists. The error is a *selector.PathError, *selector.SlowError, *limit.Error or *limit.PoolError, or the cause of the
// context's end.
func (d *Document) Select(memory *limit.Memory, path string) ([]string, error) {
	defer memory.Free(d.size)
	if err := memory.Take(d.size); err != nil {
		return nil, err
	}
	tree, err := xmlquery.ParseWithOptions(lifeline.Reader(d.ctx, d.body), xmlquery.ParserOptions{Decoder: &xmlquery.DecoderOptions{Strict: true, CharsetReader: d.encoding}})
	if err != nil {
		return nil, err
	}
	var texts []string
	length := int64(0)
	defer func() { memory.Free(length) }()
	value, err := selector.XPath(d.ctx, xmlquery.CreateXPathNavigator(tree), path, func(at xpath.NodeNavigator) error {
		text := strings.TrimSpace(at.Value())
		texts = append(texts, text)
		length += int64(len(text)) + 16 // a text of each of its ancestors, too
		return memory.Take(int64(len(text)) + 16)
	})
	switch value := value.(type) {
	case nil:
		return texts, err
	case float64:
		return []string{strconv.FormatFloat(value, 'f', -1, 64)}, nil
	default:
		return []string{fmt.Sprint(value)}, nil
	}
}

// Item is one entry of a feed.
type Item struct {
	Title  string
	Date   time.Time // the newest one of the item that can be read; zero when there is none
	Latest time.Time // Date, or later when the zone of a date has several meanings: Date is the earliest then
	Unsure error     // which zone that is, or nil
	Unread error     // why a date of the item cannot be read, or nil
}

// dated takes a date of the item into account.
func (i *Item) dated(earliest, latest time.Time, unsure error) {
	if earliest.After(i.Date) {
		i.Date = earliest
	}
	if latest.After(i.Latest) {
		i.Latest, i.Unsure = latest, unsure
	}
}

// Feed returns the items of a feed. It fails when the document is not a feed.
func (d *Document) Feed() ([]Item, error) {
	kind := map[string]string{"rss": "item", "RDF": "item", "feed": "entry"}[d.root]
	if kind == "" {
		return nil, fmt.Errorf("its root is %q, wanted rss, RDF or feed", d.root)
	}
	var items []Item
	at := 0 // how deep the current item is, 0 outside of one
	var text strings.Builder
	err := d.tokens(func(token xml.Token, path []string) error {
		depth := len(path)
		switch token := token.(type) {
		case xml.StartElement:
			switch { // RSS 1.0 and Atom have their items in the root, the others in the channel
			case at > 0 && depth == at+1:
				text.Reset()
			case at == 0 && path[depth-1] == kind && (depth == 2 || depth == 3 && path[1] == "channel"):
				at, items = depth, append(items, Item{})
				return itemsLimit.Check(int64(len(items)))
			}
		case xml.CharData:
			if at > 0 && depth > at {
				text.Write(token)
			}
		case xml.EndElement:
			switch {
			case at > 0 && depth == at+1:
				items[len(items)-1].read(path[depth-1], strings.TrimSpace(text.String()))
			case depth == at:
				at = 0
			}
		}
		return nil
	})
	return items, err
}

// read takes a field of the item into account.
func (i *Item) read(field, text string) {
	switch field {
	case "title":
		i.Title = text
	case "pubDate", "published", "updated", "date":
		at, err := date.Feed(text)
		var several *date.AmbiguousError
		switch {
		case err == nil:
			i.dated(at, at, nil)
		case errors.As(err, &several):
			i.dated(several.Earliest, several.Latest, fmt.Errorf("%s: %w", field, err))
		default:
			i.Unread = fmt.Errorf("%s: %w", field, err)
		}
	}
}

// Sitemap returns the addresses that a sitemap lists. index reports whether it is an index, whose addresses are those
// of sitemaps.
func (d *Document) Sitemap() (addresses []string, index bool, err error) {
	kind := map[string]string{"urlset": "url", "sitemapindex": "sitemap"}[d.root]
	if kind == "" {
		return nil, false, fmt.Errorf("its root is %q, wanted urlset", d.root)
	}
	var text strings.Builder
	err = d.tokens(func(token xml.Token, path []string) error {
		listed := len(path) >= 3 && path[1] == kind && path[2] == "loc"
		switch token := token.(type) {
		case xml.StartElement:
			if listed && len(path) == 3 {
				text.Reset()
			}
		case xml.CharData:
			if listed {
				text.Write(token)
			}
		case xml.EndElement:
			if listed && len(path) == 3 {
				addresses = append(addresses, strings.TrimSpace(text.String()))
			}
		}
		return nil
	})
	return addresses, kind == "sitemap", err
}
