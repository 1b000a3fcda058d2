// Package xmldoc reads the XML responses of websites: the values that an XPath selects, and two kinds that every site
// has, feeds (RSS 0.9 to 2.0, Atom of RFC 4287) and sitemaps (sitemaps.org). It does not know sentences and judges
// nothing.
//
// Documents come from outside: one that is not well-formed, or too deeply nested, is an error. External entities and
// document types are not read.
package xmldoc

import (
	"bytes"
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
	"github.com/stepwatch/stepwatch/steps/selector"
)

// maxDepth is the maximum nesting of elements: reading their text recurses.
const maxDepth = 500

var (
	errTooDeep   = fmt.Errorf("its elements are nested more than %d deep", maxDepth)
	errNoElement = errors.New("it has no element")
)

// Document is a well-formed XML document.
type Document struct {
	node *xmlquery.Node
	root *xmlquery.Node // its element
}

// Parse parses a document in any encoding that it declares.
func Parse(body []byte) (*Document, error) { return parse(body, charset.NewReaderLabel) }

// ParseDecoded parses a document that was already converted to UTF-8, whatever encoding it declares.
func ParseDecoded(body []byte) (*Document, error) {
	return parse(body, func(_ string, in io.Reader) (io.Reader, error) { return in, nil })
}

func parse(body []byte, encoding func(label string, in io.Reader) (io.Reader, error)) (*Document, error) {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	decoder.CharsetReader = encoding
	depth, found := 0, false
	for {
		token, err := decoder.Token() // this checks that each element is closed
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch token.(type) {
		case xml.StartElement:
			found = true
			if depth++; depth > maxDepth {
				return nil, errTooDeep
			}
		case xml.EndElement:
			depth--
		}
	}
	if !found {
		return nil, errNoElement
	}
	node, err := xmlquery.ParseWithOptions(bytes.NewReader(body), xmlquery.ParserOptions{Decoder: &xmlquery.DecoderOptions{Strict: true, CharsetReader: encoding}})
	if err != nil {
		return nil, err
	}
	for root := range elements(node) {
		return &Document{node, root}, nil
	}
	return nil, errNoElement
}

// Root returns the name of the root element, without its prefix.
func (d *Document) Root() string { return d.root.Data }

// Select returns the texts of the nodes that an XPath (1.0) selects, without white space around them. For an expression
// with another result, it returns the number, the text or the boolean. The error is a *PathError.
func (d *Document) Select(ctx context.Context, path string) ([]string, error) {
	var texts []string
	value, err := selector.XPath(ctx, xmlquery.CreateXPathNavigator(d.node), path, func(at xpath.NodeNavigator) {
		texts = append(texts, strings.TrimSpace(at.Value()))
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
	kind := map[string]string{"rss": "item", "RDF": "item", "feed": "entry"}[d.root.Data]
	if kind == "" {
		return nil, fmt.Errorf("its root is %q, wanted rss, RDF or feed", d.root.Data)
	}
	var items []Item
	parents := []*xmlquery.Node{d.root} // RSS 1.0 and Atom have their items there, the others in the channel
	for n := range elements(d.root) {
		if n.Data == "channel" {
			parents = append(parents, n)
		}
	}
	for _, parent := range parents {
		for n := range elements(parent) {
			if n.Data != kind {
				continue
			}
			items = append(items, readItem(n))
		}
	}
	return items, nil
}

func readItem(n *xmlquery.Node) Item {
	var item Item
	for field := range elements(n) {
		text := strings.TrimSpace(field.InnerText())
		switch field.Data {
		case "title":
			item.Title = text
		case "pubDate", "published", "updated", "date":
			at, err := date.Feed(text)
			var several *date.AmbiguousError
			switch {
			case err == nil:
				item.dated(at, at, nil)
			case errors.As(err, &several):
				item.dated(several.Earliest, several.Latest, fmt.Errorf("%s: %w", field.Data, err))
			default:
				item.Unread = fmt.Errorf("%s: %w", field.Data, err)
			}
		}
	}
	return item
}

// Sitemap returns the addresses that a sitemap lists. index reports whether it is an index, whose addresses are those
// of sitemaps.
func (d *Document) Sitemap() (addresses []string, index bool, err error) {
	kind := map[string]string{"urlset": "url", "sitemapindex": "sitemap"}[d.root.Data]
	if kind == "" {
		return nil, false, fmt.Errorf("its root is %q, wanted urlset", d.root.Data)
	}
	for n := range elements(d.root) {
		if n.Data != kind {
			continue
		}
		for c := range elements(n) {
			if c.Data == "loc" {
				addresses = append(addresses, strings.TrimSpace(c.InnerText()))
			}
		}
	}
	return addresses, kind == "sitemap", nil
}

// elements returns the elements directly below n.
func elements(n *xmlquery.Node) func(yield func(*xmlquery.Node) bool) {
	return func(yield func(*xmlquery.Node) bool) {
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			if c.Type == xmlquery.ElementNode && !yield(c) {
				return
			}
		}
	}
}
