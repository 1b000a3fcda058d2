package pagetree

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// IsDisabled reports whether a control is disabled itself or through a fieldset of its document (HTML §4.10.18.5). The
// first legend of the fieldset is exempt.
func IsDisabled(n *html.Node) bool {
	if _, disabled := Attribute(n, "disabled"); disabled {
		return true
	}
	for child, p := n, n.Parent; p != nil && !HoldsDocument(p); child, p = p, p.Parent {
		if p.DataAtom != atom.Fieldset {
			continue
		}
		if _, disabled := Attribute(p, "disabled"); !disabled {
			continue
		}
		if child.DataAtom == atom.Legend && child == FirstChild(p, atom.Legend) {
			continue
		}
		return true
	}
	return false
}

// ButtonType returns submit, image, reset or button, or "" for other elements.
func ButtonType(n *html.Node) string {
	kind, _ := Attribute(n, "type")
	kind = strings.ToLower(kind)
	switch n.DataAtom {
	case atom.Button:
		if kind == "reset" || kind == "button" {
			return kind
		}
		return "submit"
	case atom.Input:
		if kind == "submit" || kind == "image" || kind == "reset" || kind == "button" {
			return kind
		}
	}
	return ""
}

// FieldKind is a kind of control, which determines the possible actions.
type FieldKind string

// The kinds, as messages name them.
const (
	KindText     FieldKind = "text field"
	KindSelect   FieldKind = "select field"
	KindCheckbox FieldKind = "checkbox"
	KindRadio    FieldKind = "radio button"
	KindFile     FieldKind = "file field"
)

// KindOf returns the kind of a control, or "" for an element that accepts no input.
func KindOf(n *html.Node) FieldKind {
	switch n.DataAtom {
	case atom.Textarea:
		return KindText
	case atom.Select:
		return KindSelect
	case atom.Input:
		switch kind, _ := Attribute(n, "type"); strings.ToLower(kind) {
		case "hidden", "submit", "image", "reset", "button":
			return ""
		case "checkbox":
			return KindCheckbox
		case "radio":
			return KindRadio
		case "file":
			return KindFile
		default:
			return KindText
		}
	}
	return ""
}

// SetAttribute sets an attribute of n.
func SetAttribute(n *html.Node, key, value string) {
	RemoveAttribute(n, key)
	n.Attr = append(n.Attr, html.Attribute{Key: key, Val: value})
}

// RemoveAttribute removes an attribute of n.
func RemoveAttribute(n *html.Node, key string) {
	n.Attr = slices.DeleteFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// OptionText returns the visible text of an option.
func OptionText(option *html.Node) string {
	if label, _ := Attribute(option, "label"); label != "" {
		return Normal(label)
	}
	return Label(option)
}

// OptionValue returns what an option sends: its value, or else its text (HTML §4.10.10, text). Only ASCII white space is
// collapsed in that: a no-break space is sent.
func OptionValue(option *html.Node) string {
	if value, found := Attribute(option, "value"); found {
		return value
	}
	var text strings.Builder
	for n := range option.Descendants() {
		if n.Type == html.TextNode && n.Parent.DataAtom != atom.Script {
			text.WriteString(n.Data)
		}
	}
	return strings.Join(strings.FieldsFunc(text.String(), func(r rune) bool { return strings.ContainsRune(" \t\n\f\r", r) }), " ")
}

// OptionDisabled reports whether an option or its group is disabled.
func OptionDisabled(option *html.Node) bool {
	_, disabled := Attribute(option, "disabled")
	if group := option.Parent; !disabled && group != nil && group.DataAtom == atom.Optgroup {
		_, disabled = Attribute(group, "disabled")
	}
	return disabled
}

// Options returns the options of a select element, those in groups too.
func Options(field *html.Node) []*html.Node {
	var found []*html.Node
	for n := range field.Descendants() {
		if n.DataAtom == atom.Option {
			found = append(found, n)
		}
	}
	return found
}

// IsHiddenInput reports whether n is an input that no visitor sees.
func IsHiddenInput(n *html.Node) bool {
	kind, _ := Attribute(n, "type")
	return n.DataAtom == atom.Input && strings.EqualFold(kind, "hidden")
}

// Selected returns the options that a select field sends. A drop-down without a selected option shows and sends its
// first.
func Selected(field *html.Node) []*html.Node {
	var chosen, enabled []*html.Node
	for _, o := range Options(field) {
		if _, is := Attribute(o, "selected"); is {
			chosen = append(chosen, o)
		}
		if !OptionDisabled(o) {
			enabled = append(enabled, o)
		}
	}
	if _, multiple := Attribute(field, "multiple"); !multiple {
		switch {
		case len(chosen) > 1:
			chosen = chosen[len(chosen)-1:]
		case len(chosen) == 0 && len(enabled) > 0 && IsDropDown(field):
			chosen = enabled[:1]
		}
	}
	return slices.DeleteFunc(chosen, OptionDisabled)
}

// IsDropDown reports whether a select field shows one option at a time: unless its size is a number above 1 (HTML §4.10.7).
func IsDropDown(field *html.Node) bool {
	text, _ := Attribute(field, "size")
	text = strings.TrimLeft(text, " \t\n\f\r")
	digits := text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
	size, err := strconv.Atoi(digits)
	return err != nil || size <= 1
}

// TextareaValue returns what a textarea holds.
func TextareaValue(n *html.Node) string {
	var b strings.Builder
	for c := range n.ChildNodes() {
		b.WriteString(c.Data)
	}
	return b.String()
}

// FormSetting returns an attribute of a form, or the one of the pressed button that overrides it.
func FormSetting(form, submitter *html.Node, key string) string {
	if submitter != nil {
		if value, found := Attribute(submitter, "form"+key); found {
			return strings.TrimSpace(value)
		}
	}
	value, _ := Attribute(form, key)
	return strings.TrimSpace(value)
}

// IsLink reports whether n is a link that can be followed.
func IsLink(n *html.Node) bool {
	_, found := Attribute(n, "href")
	return found && (n.DataAtom == atom.A || n.DataAtom == atom.Area)
}

// ClickRole reports whether an element has a role that can be clicked.
func ClickRole(n *html.Node) bool {
	switch role, _ := Attribute(n, "role"); role {
	case "button", "link", "tab", "menuitem", "menuitemcheckbox", "menuitemradio", "option", "switch", "checkbox", "radio", "treeitem":
		return true
	}
	return n.Parent != nil && n.Parent.DataAtom == atom.Details && isSummary(n)
}
