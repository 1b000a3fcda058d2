package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/stepwatch/stepwatch/agent/vault"
	"github.com/stepwatch/stepwatch/steps"
)

// document is a decoded file: the settings of the core, and the blocks of the subjects, each decoded over its defaults.
type document struct {
	path   string
	source []byte
	file   file
	blocks map[string]steps.Block // every registered one
	hosts  map[string]*hostDocument
}

// hostDocument is the content of hosts.NAME.
type hostDocument struct {
	host
	blocks map[string]steps.Block // those in the file
}

// decode reads a file. The error is the first mistake in it.
func decode(path string, source []byte) (*document, error) {
	d := &document{path: path, source: source, blocks: steps.Blocks(), hosts: make(map[string]*hostDocument)}
	if len(bytes.TrimSpace(source)) == 0 {
		return d, nil
	}
	parsed, err := parser.ParseBytes(source, 0)
	if err != nil {
		return nil, syntaxError(path, "", err)
	}
	if len(parsed.Docs) == 0 || parsed.Docs[0].Body == nil {
		return d, nil
	}
	r := &reader{path: path, decoder: yaml.NewDecoder(&bytes.Buffer{}, yaml.Strict()), anchors: make(anchors)}
	ast.Walk(r.anchors, parsed.Docs[0].Body)
	if r.read("", parsed.Docs[0].Body, new(any)); len(r.mistakes) > 0 { // this also registers all anchors with the decoder
		return nil, r.first()
	}
	rest, taken := r.take(parsed.Docs[0].Body, slices.Collect(maps.Keys(d.blocks)), "")
	r.read("", rest, &d.file)
	for name, node := range taken {
		section, _, _ := strings.Cut(name, ".")
		r.read(section, node, d.blocks[name])
	}
	for name, host := range d.file.Hosts {
		d.hosts[name] = r.host(host)
	}
	return d, r.first()
}

// host decodes the content of hosts.NAME.
func (r *reader) host(w *written) *hostDocument {
	d := &hostDocument{blocks: make(map[string]steps.Block)}
	if w == nil {
		return d
	}
	known := steps.HostBlocks()
	rest, taken := r.take(w.node, slices.Collect(maps.Keys(known)), "")
	r.read("hosts", rest, &d.host)
	for name, node := range taken {
		r.read("hosts", node, known[name])
		d.blocks[name] = known[name]
	}
	return d
}

// reader decodes the parts of one file. It has one decoder, because an alias may be in another part than its anchor.
type reader struct {
	path     string
	decoder  *yaml.Decoder
	anchors  anchors
	mistakes []*mistake
}

// read decodes a part of the file and records its mistakes. section is its top-level setting, or empty for the whole file.
//
//nolint:contextcheck // the context carries a value to UnmarshalYAML and ends nothing
func (r *reader) read(section string, node ast.Node, into any) {
	defer func() {
		if v := recover(); v != nil { // of the library, as it does on a tag such as !!str before a list
			at := node.GetToken().Position
			err := errors.New("cannot be read: the YAML library fails on it; if it has a tag such as !!str, remove that")
			r.mistakes = append(r.mistakes, &mistake{r.path, at.Line, at.Column, err})
		}
	}()
	ctx := steps.WithSecretSources(context.Background(), func() any { return new(vault.Source) })
	if err := r.decoder.DecodeFromNodeContext(ctx, node, into); err != nil {
		r.mistakes = append(r.mistakes, syntaxError(r.path, section, err))
	}
}

// first returns the first mistake in the file, or nil.
func (r *reader) first() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	return slices.MinFunc(r.mistakes, func(a, b *mistake) int {
		return cmp.Or(a.line-b.line, a.column-b.column, strings.Compare(a.Error(), b.Error()))
	})
}

// take returns the settings of a mapping that have these names, by name, and the mapping without them. A name with dots
// is nested. An empty setting counts as missing. A node that is not a mapping is returned unchanged.
func (r *reader) take(node ast.Node, names []string, path string) (rest ast.Node, taken map[string]ast.Node) {
	taken = make(map[string]ast.Node)
	all, start, ok := r.mapping(node)
	if !ok {
		return node, taken
	}
	without := *start
	without.Values = nil
	for _, entry := range all {
		name := path + keyName(entry.Key)
		switch {
		case slices.Contains(names, name):
			if entry.Value.Type() != ast.NullType {
				taken[name] = entry.Value
			}
			continue
		case slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+".") }):
			left, found := r.take(entry.Value, names, name+".")
			maps.Copy(taken, found)
			if mapping, is := left.(*ast.MappingNode); is && len(mapping.Values) == 0 && len(found) > 0 {
				continue
			}
			changed := *entry
			changed.Value, entry = left, &changed
		}
		without.Values = append(without.Values, entry)
	}
	return &without, taken
}

// keyName returns the name of a setting, even if it is written with a question mark before it.
func keyName(key ast.MapKeyNode) string {
	if explicit, is := key.(*ast.MappingKeyNode); is && explicit.Value != nil {
		return explicit.Value.GetToken().Value
	}
	return key.GetToken().Value
}

// mapping returns the entries of a mapping, with those that it merges in, and the mapping itself.
func (r *reader) mapping(node ast.Node) (all []*ast.MappingValueNode, start *ast.MappingNode, ok bool) {
	switch n := node.(type) {
	case *ast.AnchorNode:
		return r.mapping(n.Value)
	case *ast.AliasNode:
		return r.mapping(r.anchors[n.Value.GetToken().Value])
	case *ast.MappingNode:
		for _, entry := range n.Values {
			if merged, ok := r.merged(entry); ok {
				all = append(all, merged...)
			} else {
				all = append(all, entry)
			}
		}
		return all, n, true
	}
	return nil, nil, false
}

// merged returns the entries of a merge key.
func (r *reader) merged(entry *ast.MappingValueNode) (all []*ast.MappingValueNode, ok bool) {
	if !entry.Key.IsMergeKey() {
		return nil, false
	}
	from := []ast.Node{entry.Value}
	if list, is := entry.Value.(*ast.SequenceNode); is {
		from = list.Values
	}
	for _, node := range from {
		entries, _, ok := r.mapping(node)
		if !ok {
			return nil, false
		}
		all = append(all, entries...)
	}
	return all, true
}

// anchors has the nodes of anchors by name.
type anchors map[string]ast.Node

// Visit implements ast.Visitor.
func (a anchors) Visit(node ast.Node) ast.Visitor {
	if anchor, is := node.(*ast.AnchorNode); is {
		a[anchor.Name.GetToken().Value] = anchor.Value
	}
	return a
}
