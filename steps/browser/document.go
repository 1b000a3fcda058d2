package browser

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Element identifies one element of the document in the tab, by its number in the last Snapshot.
type Element struct {
	frame  cdp.FrameID
	number int
}

// Snapshot is the document at one moment.
type Snapshot struct {
	Root     *html.Node             // with the documents of its frames inside their elements
	Elements map[*html.Node]Element // for actions
	Frames   map[*html.Node]Frame   // the visible ones, by their elements
}

// evaluate calls a function of page.js in a frame and decodes its result into out, unless out is nil.
func (t *Tab) evaluate(ctx context.Context, id cdp.FrameID, out any, function string, args ...any) error {
	var expression strings.Builder
	expression.WriteString("stepwatch." + function + "(")
	for i, arg := range args {
		if i > 0 {
			expression.WriteByte(',')
		}
		encoded, err := json.Marshal(arg)
		if err != nil {
			return fmt.Errorf("call %s in the page: %w", function, err)
		}
		expression.Write(encoded)
	}
	expression.WriteByte(')')
	result, err := t.run(ctx, id, expression.String(), true)
	if err != nil || out == nil {
		return err
	}
	if err := jsonv2.Unmarshal(result.Value, out, jsonv2.AllowInvalidUTF8(true)); err != nil {
		return &Broken{"read the result of " + function + " in the page", err}
	}
	return nil
}

// run evaluates an expression in our world of a frame.
func (t *Tab) run(ctx context.Context, id cdp.FrameID, expression string, byValue bool) (*runtime.RemoteObject, error) {
	var in string
	err := t.wait(ctx, func() bool {
		in = t.worlds[id]
		return in != "" || id != t.main // a frame that was removed never gets its world
	})
	if err != nil {
		return nil, err
	}
	if in == "" {
		return nil, errReplaced
	}
	yes := true
	got, err := command(ctx, t, runtime.Evaluate, runtime.EvaluateParams{Expression: expression, UniqueContextID: in, ReturnByValue: &byValue, AwaitPromise: &yes, Silent: &yes})
	if err != nil {
		return nil, err
	}
	if e := got.ExceptionDetails; e != nil {
		detail := e.Text
		if e.Exception != nil {
			detail += " " + e.Exception.Description
		}
		return nil, &Broken{"look into the page", errors.New(cut(detail))}
	}
	return got.Result, nil
}

// frameIDs returns the frames of the page, the main one first.
func (t *Tab) frameIDs() []cdp.FrameID {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := []cdp.FrameID{t.main}
	for _, f := range t.frames {
		if t.worlds[f.id] != "" {
			ids = append(ids, f.id)
		}
	}
	return ids
}

// Snapshot reads the document with its frames. It waits for a document that is being replaced.
func (t *Tab) Snapshot(ctx context.Context) (*Snapshot, error) { return t.look(ctx, false) }

// Glance is a Snapshot for repeated use while waiting: it may miss a closed shadow tree that was added just before.
func (t *Tab) Glance(ctx context.Context) (*Snapshot, error) { return t.look(ctx, true) }

func (t *Tab) look(ctx context.Context, glance bool) (*Snapshot, error) {
	for {
		s, err := t.snapshot(ctx, glance)
		if !errors.Is(err, errReplaced) {
			return s, err
		}
		if err := t.rest(ctx); err != nil {
			return nil, err
		}
	}
}

// rest waits until the current navigation has loaded a document.
func (t *Tab) rest(ctx context.Context) error {
	return t.wait(ctx, func() bool { return t.current == nil || t.current.done() || t.current.Committed })
}

func (t *Tab) snapshot(ctx context.Context, glance bool) (*Snapshot, error) {
	s := &Snapshot{Root: &html.Node{Type: html.DocumentNode}, Elements: map[*html.Node]Element{}, Frames: map[*html.Node]Frame{}}
	return s, t.snapshotOf(ctx, t.main, s, s.Root, glance)
}

// build builds a tree from the tokens of the script.
func build(into *html.Node, tokens []string, number func(*html.Node, int)) error {
	at, count := into, 0
	for _, token := range tokens {
		if token == "" {
			return errors.New("an empty token")
		}
		switch kind, rest := token[0], token[1:]; kind {
		case '<':
			n := &html.Node{Type: html.ElementNode, Data: rest, DataAtom: atom.Lookup([]byte(rest))}
			at.AppendChild(n)
			number(n, count)
			count++
			at = n
		case '@':
			name, value, _ := strings.Cut(rest, "=")
			at.Attr = append(at.Attr, html.Attribute{Key: name, Val: value})
		case '#':
			at.AppendChild(&html.Node{Type: html.TextNode, Data: rest})
		case '>':
			if at == into {
				return errors.New("an end tag without a start tag")
			}
			at = at.Parent
		default:
			return fmt.Errorf("an unknown token that begins with %q", kind)
		}
	}
	if at != into {
		return errors.New("an element without an end tag")
	}
	return nil
}

// Text returns the visible text of the page, frames included, as the browser lays it out.
func (t *Tab) Text(ctx context.Context) (string, error) {
	for {
		text, err := t.textOf(ctx, t.main)
		if !errors.Is(err, errReplaced) {
			return text, err
		}
		if err := t.rest(ctx); err != nil {
			return "", err
		}
	}
}

// Hides reports whether a text of the page that contains a word, in lower case, may be out of sight for a visitor: only a
// snapshot tells it.
func (t *Tab) Hides(ctx context.Context, word string) (bool, error) {
	for _, id := range t.frameIDs() {
		var hides bool
		if err := t.evaluate(ctx, id, &hides, "hides", word); err != nil && !errors.Is(err, errReplaced) {
			return false, err
		}
		if hides {
			return true, nil
		}
	}
	return false, nil
}

// TextOf returns the visible text of one element.
func (t *Tab) TextOf(ctx context.Context, e Element) (string, error) {
	var seen struct {
		Text   string `json:"text"`
		Length int64  `json:"length"`
	}
	err := t.evaluate(ctx, e.frame, &seen, "text", e.number, textLimit.Most)
	return seen.Text, cmp.Or(err, textLimit.Check(seen.Length))
}

// Encoding returns the name of the encoding of the current document, in which it sends queries and forms.
func (t *Tab) Encoding(ctx context.Context) (string, error) {
	got, err := t.run(ctx, t.main, "document.characterSet", true)
	if err != nil {
		return "", err
	}
	var name string
	if err := json.Unmarshal(got.Value, &name); err != nil {
		return "", &Broken{"read the encoding of the page", err}
	}
	return name, nil
}

// Source returns the current document as HTML, without typed values.
func (t *Tab) Source(ctx context.Context) (string, error) {
	var source string
	err := t.evaluate(ctx, t.main, &source, "source")
	return source, err
}

// Changed returns when the page may have changed: at once after a change of the document, and after 100 ms at the
// latest, because style sheets and fields change without one.
func (t *Tab) Changed(ctx context.Context) error {
	err := t.evaluate(ctx, t.main, nil, "changed", 100)
	if errors.Is(err, errReplaced) {
		return t.rest(ctx)
	}
	return err
}

// Body returns the response body of a request, if the browser still has it.
func (t *Tab) Body(ctx context.Context, r *Request) ([]byte, error) {
	got, err := command(ctx, t, network.GetResponseBody, network.GetResponseBodyParams{RequestID: r.id})
	return got.Body, err
}
