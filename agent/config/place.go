package config

import (
	"cmp"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/stepwatch/stepwatch/steps/regex"
)

// mistake is a decoding error with its place.
type mistake struct {
	path         string
	line, column int // 0 if unknown
	err          error
}

// Error returns "file:line:column: message".
func (m *mistake) Error() string {
	if m.line == 0 {
		return fmt.Sprintf("%s: %v", m.path, m.err)
	}
	return fmt.Sprintf("%s:%d:%d: %v", m.path, m.line, m.column, m.err)
}

func (m *mistake) Unwrap() error { return m.err }

// syntaxError keeps the place and the message without the library's excerpt of the surrounding lines, which could contain a
// secret. section is the path of the setting, or of a part of the file that contains it, or empty.
func syntaxError(path, section string, err error) *mistake {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		at := y.GetToken().Position
		return &mistake{path, at.Line, at.Column, errors.New(inYAML(section, y.GetMessage()))}
	}
	return &mistake{path: path, err: err}
}

var (
	wrongType = regex.Lazy(`^cannot unmarshal (.+) into Go (?:struct field \w*\.(\w+)|value) of type (\S+)$`)
	wrongNode = regex.Lazy(`^(\w+) was used where (\w+) is expected$`)
	twice     = regex.Lazy(`^mapping key "(.*)" already defined at \[(\d+):\d+\]$`)
	inside    = regex.Lazy(`([a-z])([A-Z])`) // of the name of a field: ConnectTo
)

// kinds names in YAML's terms what the library names after Go's types and its own nodes.
var kinds = map[string]string{"string": "a text", "int": "a whole number", "uint64": "a whole number", "int64": "a whole number",
	"float64": "a number", "float": "a number", "integer": "a whole number", "bool": "true or false", "null": "empty",
	"[]string": "a list of texts", "sequence": "a list", "map": "a mapping", "mapping": "a mapping", "+Inf": "infinite", "-Inf": "infinite", "NaN": "not a number",
	"[]interface {}": "a list", "map[string]interface {}": "a mapping", "Duration": "a duration such as 30s", "[]Duration": "a list of durations such as 30s",
	"[]time.Duration": "a list of durations such as 30s", "time.Duration": "a duration such as 30s"}

// unquoted says how a text is written that YAML takes for a mapping: in braces and brackets, 192.0.2.53:53 is one.
func unquoted(got, want string) string {
	if got == kinds["mapping"] && want == kinds["string"] {
		return ": put a text with a colon in quotes"
	}
	return ""
}

// inYAML replaces Go types in a message with YAML terms.
func inYAML(section, message string) string {
	kind := func(name string) string { return cmp.Or(kinds[name], "another type") }
	if m := wrongNode.FindStringSubmatch(message); m != nil {
		if section != "" {
			return fmt.Sprintf("%s is %s, want %s", section, kind(m[1]), kind(m[2])) + unquoted(kind(m[1]), kind(m[2]))
		}
		return fmt.Sprintf("got %s, want %s", kind(m[1]), kind(m[2])) + unquoted(kind(m[1]), kind(m[2]))
	}
	if m := twice.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s is set twice: it is already set at line %s", m[1], m[2])
	}
	m := wrongType.FindStringSubmatch(message)
	if m == nil || section == "" && m[2] == "" {
		return message
	}
	setting := strings.ToLower(inside.ReplaceAllString(m[2], "${1}_$2"))
	return fmt.Sprintf("%s is %s, want %s", cmp.Or(section, setting), kind(m[1]), kind(m[3])) + unquoted(kind(m[1]), kind(m[3]))
}

// invalid collects the mistakes in the values of a decoded file.
type invalid struct {
	path   string
	source []byte
	errs   []error
}

// report records a mistake in the setting at a YAML path such as "accounts.alice.smtp", with its line if the file has it.
func (v *invalid) report(setting, message string) {
	place := v.path
	if line := lineOf(v.source, setting); line > 0 {
		place = fmt.Sprintf("%s:%d", v.path, line)
	}
	v.errs = append(v.errs, fmt.Errorf("%s: %s: %s", place, setting, message))
}

// err returns all reported mistakes, one on each line, or nil.
func (v *invalid) err() error {
	sort.Slice(v.errs, func(i, j int) bool { return v.errs[i].Error() < v.errs[j].Error() })
	return errors.Join(v.errs...)
}

// lineOf returns the line of a setting, or of its nearest parent in the file, or 0. A name in the path may itself contain dots
// and brackets, so the path is followed along the names that the file has.
func lineOf(source []byte, setting string) int {
	parsed, err := parser.ParseBytes(source, 0)
	if err != nil || len(parsed.Docs) == 0 || parsed.Docs[0].Body == nil {
		return 0
	}
	f := finder{reader{anchors: make(anchors)}}
	ast.Walk(f.anchors, parsed.Docs[0].Body)
	node, _ := f.find(parsed.Docs[0].Body, setting, 0)
	if node == nil || node.GetToken() == nil {
		return 0
	}
	return node.GetToken().Position.Line
}

// finder follows paths of settings.
type finder struct{ reader }

// mostLevels is the most levels of a path.
const mostLevels = 20

// find returns the node at a path below a node, or its nearest parent other than the node itself, and how much of the path is
// left there.
func (f *finder) find(node ast.Node, path string, level int) (found ast.Node, left int) {
	left = len(path)
	if level > mostLevels {
		return nil, left
	}
	follow := func(value ast.Node, rest string) {
		if deeper, unread := f.find(value, strings.TrimPrefix(rest, "."), level+1); rest != "" && deeper != nil && unread < left {
			found, left = deeper, unread
		} else if len(rest) < left {
			found, left = value, len(rest)
		}
	}
	if list, is := node.(*ast.SequenceNode); is {
		var i int
		if n, err := fmt.Sscanf(path, "[%d]", &i); n == 1 && err == nil && i >= 0 && i < len(list.Values) {
			follow(list.Values[i], path[strings.IndexByte(path, ']')+1:])
		}
		return found, left
	}
	entries, _, ok := f.mapping(node)
	if !ok {
		return nil, left
	}
	for _, entry := range entries {
		rest, begins := strings.CutPrefix(path, keyName(entry.Key))
		if begins && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			follow(entry.Value, rest)
		}
	}
	return found, left
}
