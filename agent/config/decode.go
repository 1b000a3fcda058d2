package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
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
	values map[string]any         // what the file says, by setting
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
	source = bytes.TrimPrefix(source, []byte("\ufeff")) // the byte order mark that some editors write
	d.source = source
	if len(bytes.TrimSpace(source)) == 0 {
		return d, nil
	}
	if m := measure(path, source); m != nil {
		return nil, m
	}
	parsed, err := parser.ParseBytes(source, 0)
	if err != nil {
		return nil, syntaxError(path, "", err)
	}
	if len(parsed.Docs) == 0 || parsed.Docs[0].Body == nil {
		return d, nil
	}
	for _, other := range parsed.Docs[1:] {
		if other.Body == nil || other.Body.GetToken() == nil {
			continue
		}
		at := other.Body.GetToken().Position
		return nil, &mistake{path, at.Line, at.Column, errors.New("a second document begins above this line (---): stepwatch.yml has only one, so move this into the first or remove it")}
	}
	r := &reader{path: path, decoder: yaml.NewDecoder(&bytes.Buffer{}, yaml.Strict()), anchors: make(anchors)}
	ast.Walk(r.anchors, parsed.Docs[0].Body)
	if m := r.tooLarge(parsed.Docs[0].Body); m != nil {
		return nil, m
	}
	var all any
	if r.read("", parsed.Docs[0].Body, &all); len(r.mistakes) > 0 { // this also registers all anchors with the decoder
		return nil, r.first()
	}
	d.values, _ = all.(map[string]any)
	rest, taken := r.take(parsed.Docs[0].Body, slices.Collect(maps.Keys(d.blocks)), "")
	r.read("", rest, &d.file)
	for name, node := range taken {
		section, _, _ := strings.Cut(name, ".")
		r.read(section, node, d.blocks[name])
	}
	for name, host := range d.file.Hosts {
		d.hosts[name] = r.host(name, host)
	}
	return d, r.first()
}

// host decodes the content of hosts.NAME.
func (r *reader) host(name string, w *written) *hostDocument {
	d := &hostDocument{blocks: make(map[string]steps.Block)}
	if w == nil {
		return d
	}
	known := steps.HostBlocks()
	rest, taken := r.take(w.node, slices.Collect(maps.Keys(known)), "")
	r.read("hosts."+name, rest, &d.host)
	for block, node := range taken {
		r.read("hosts."+name+"."+block, node, known[block])
		d.blocks[block] = known[block]
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
	r.wholeNumbers(node, reflect.TypeOf(into), section, 0)
	ctx := steps.WithSecretSources(context.Background(), func() any { return new(vault.Source) })
	if err := r.decoder.DecodeFromNodeContext(ctx, node, into); err != nil {
		m := syntaxError(r.path, r.settingAt(node, section, err), err)
		if !slices.ContainsFunc(r.mistakes, func(known *mistake) bool { return known.line == m.line && known.column == m.column }) {
			r.mistakes = append(r.mistakes, m)
		}
	}
}

// wholeNumbers records the numbers with a fraction, and infinity, at settings that take whole numbers: the library would cut
// them off.
func (r *reader) wholeNumbers(node ast.Node, t reflect.Type, setting string, level int) {
	if node == nil || level > mostLevels {
		return
	}
	switch n := node.(type) {
	case *ast.AnchorNode:
		r.wholeNumbers(n.Value, t, setting, level+1)
		return
	case *ast.AliasNode:
		r.wholeNumbers(r.anchors[n.Value.GetToken().Value], t, setting, level+1)
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		switch node.(type) {
		case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
			at := node.GetToken().Position
			r.mistakes = append(r.mistakes, &mistake{r.path, at.Line, at.Column,
				fmt.Errorf("%s is %s, want a whole number", cmp.Or(setting, "the value"), node.GetToken().Value)})
		}
	case reflect.Slice:
		if list, is := node.(*ast.SequenceNode); is {
			for _, v := range list.Values {
				r.wholeNumbers(v, t.Elem(), setting, level+1)
			}
		}
	case reflect.Map:
		entries, _, _ := r.mapping(node)
		for _, e := range entries {
			r.wholeNumbers(e.Value, t.Elem(), below(setting, keyName(e.Key)), level+1)
		}
	case reflect.Struct:
		entries, _, _ := r.mapping(node)
		for i := range t.NumField() {
			name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if strings.Contains(options, "inline") {
				r.wholeNumbers(node, t.Field(i).Type, setting, level+1)
			}
			for _, e := range entries {
				if name != "" && keyName(e.Key) == name {
					r.wholeNumbers(e.Value, t.Field(i).Type, below(setting, name), level+1)
				}
			}
		}
	}
}

// settingAt returns the path of the setting below a node whose value an error is about, or section if it is not found.
func (r *reader) settingAt(node ast.Node, section string, err error) string {
	var y yaml.Error
	if !errors.As(err, &y) || y.GetToken() == nil {
		return section
	}
	at := *y.GetToken().Position
	var look func(ast.Node, string, int) (string, bool)
	look = func(node ast.Node, path string, level int) (string, bool) {
		if node == nil || level > mostLevels {
			return "", false
		}
		if list, is := node.(*ast.SequenceNode); is {
			for i, v := range list.Values {
				if found, ok := look(v, fmt.Sprintf("%s[%d]", path, i), level+1); ok {
					return found, true
				}
			}
		}
		entries, _, _ := r.mapping(node)
		for _, e := range entries {
			if found, ok := look(e.Value, below(path, keyName(e.Key)), level+1); ok {
				return found, true
			}
		}
		token := node.GetToken()
		return path, token != nil && token.Position.Line == at.Line && token.Position.Column == at.Column
	}
	if path, found := look(node, section, 0); found {
		return path
	}
	return section
}

// below returns the path of a setting below another one.
func below(setting, name string) string {
	if setting == "" {
		return name
	}
	return setting + "." + name
}

// tooLarge returns the mistake of a file that has more values than valuesLimit, or of an alias that contains itself.
func (r *reader) tooLarge(body ast.Node) *mistake {
	mostNodes := int(valuesLimit.Most)
	sizes := make(map[string]int) // of anchors; -1 while their size is computed
	var m *mistake
	fail := func(node ast.Node, format string, args ...any) int {
		if m == nil {
			at := node.GetToken().Position
			m = &mistake{r.path, at.Line, at.Column, fmt.Errorf(format, args...)}
		}
		return mostNodes
	}
	var size func(ast.Node) int
	size = func(node ast.Node) int {
		total := 1
		add := func(n int) { total = min(total+n, mostNodes+1) }
		switch n := node.(type) {
		case *ast.AnchorNode:
			add(size(n.Value))
		case *ast.TagNode:
			add(size(n.Value))
		case *ast.AliasNode:
			name := n.Value.GetToken().Value
			known, seen := sizes[name]
			switch target := r.anchors[name]; {
			case seen && known < 0:
				return fail(node, "the alias *%s contains itself", name)
			case !seen && target != nil:
				sizes[name] = -1
				known = size(target)
				sizes[name] = known
			}
			add(known)
		case *ast.SequenceNode:
			for _, v := range n.Values {
				add(size(v))
			}
		case *ast.MappingNode:
			for _, v := range n.Values {
				add(size(v.Value))
			}
		case *ast.MappingValueNode:
			add(size(n.Value))
		}
		if total > mostNodes {
			return fail(node, "%w: write them out, or nest them less", valuesLimit.Exceeded())
		}
		return total
	}
	size(body)
	return m
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
