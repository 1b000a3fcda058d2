package pagetree

import (
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// What has a box may still be out of sight: transparent, clipped to nothing, of no size, or far outside of the page. Its
// text is not seen. It is still part of a name: pages draw their own checkboxes and file fields, and name buttons for
// those who hear them.

// unseenMark is the attribute of a snapshot of a browser for an element whose content is out of sight: its own text
// ("text"), or all of it ("").
const unseenMark = "stepwatch-unseen"

// sight is how much of an element's content is in sight.
type sight int

const (
	inSight    sight = iota
	textUnseen       // its own text is out of sight
	outOfSight
	transparent // as outOfSight, unless a script or a style sheet makes it appear
)

// sightOf returns what an element's own attributes say about its content.
func sightOf(n *html.Node) sight {
	for i := range n.Attr {
		switch n.Attr[i].Key {
		case unseenMark:
			if n.Attr[i].Val == "text" {
				return textUnseen
			}
			return outOfSight
		case "style":
			if s := styleSight(styleOf(n, i)); s != inSight {
				return s
			}
		}
	}
	return inSight
}

// farOut is how many pixels left of the page nobody looks for anything.
const farOut = -900

// styleSight reads what puts content out of sight from the declarations of a style attribute.
func styleSight(style string) sight {
	if !strings.Contains(style, "opacity") && !strings.Contains(style, "clip") && !strings.Contains(style, "font-size") &&
		!strings.Contains(style, "left") && !strings.Contains(style, "text-indent") {
		return inSight
	}
	declared := map[string]string{}
	for declaration := range strings.SplitSeq(strings.ToLower(style), ";") {
		property, value, _ := strings.Cut(declaration, ":")
		value, _ = strings.CutSuffix(strings.TrimSpace(value), "!important")
		declared[strings.TrimSpace(property)] = strings.TrimSpace(value)
	}
	placed := declared["position"] == "absolute" || declared["position"] == "fixed"
	left, isLength := pixels(declared["left"])
	indent, _ := pixels(declared["text-indent"])
	opacity, err := strconv.ParseFloat(strings.TrimSuffix(declared["opacity"], "%"), 64)
	switch size := declared["font-size"]; {
	case placed && clipsAll(declared["clip"]), insetAll(declared["clip-path"]):
		return outOfSight
	case placed && isLength && left <= 2*farOut: // so that it ends there, too, unless it is very wide
		return outOfSight
	case err == nil && opacity <= 0:
		return transparent
	case size == "0", size == "0px", size == "0em", size == "0rem", size == "0pt", size == "0%", indent <= 2*farOut:
		return textUnseen
	}
	return inSight
}

// pixels returns a length in pixels; em and rem are of the usual size.
func pixels(text string) (n float64, isLength bool) {
	for unit, size := range map[string]float64{"px": 1, "rem": 16, "em": 16} {
		if digits, found := strings.CutSuffix(text, unit); found {
			if n, err := strconv.ParseFloat(digits, 64); err == nil {
				return n * size, true
			}
		}
	}
	return 0, false
}

// clipsAll reports whether the value of clip leaves nothing: rect(0, 0, 0, 0).
func clipsAll(value string) bool {
	inner, found := strings.CutPrefix(value, "rect(")
	inner, closed := strings.CutSuffix(inner, ")")
	sides := strings.Fields(strings.ReplaceAll(inner, ",", " "))
	if !found || !closed || len(sides) != 4 {
		return false
	}
	var n [4]float64
	for i, side := range sides {
		var err error
		if n[i], err = strconv.ParseFloat(strings.TrimSuffix(side, "px"), 64); err != nil {
			return false // auto
		}
	}
	return n[0] >= n[2] || n[3] >= n[1]
}

// insetAll reports whether the value of clip-path leaves nothing: inset(50%), or of both sides together all.
func insetAll(value string) bool {
	inner, found := strings.CutPrefix(value, "inset(")
	inner, closed := strings.CutSuffix(inner, ")")
	inner, _, _ = strings.Cut(inner, "round")
	sides := strings.Fields(inner)
	if !found || !closed || len(sides) == 0 || len(sides) > 4 {
		return false
	}
	side := func(i int) float64 {
		for i >= len(sides) {
			i = max(0, i-2)
			if i == 0 || i < len(sides) {
				break
			}
		}
		percent, isPercent := strings.CutSuffix(sides[i], "%")
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !isPercent {
			return 0
		}
		return n
	}
	return side(0)+side(2) >= 100 || side(1)+side(3) >= 100
}

// IsUnseen reports whether the content of an element is out of sight, though it is not hidden.
func IsUnseen(n *html.Node) bool {
	for at := n; at != nil; at = at.Parent {
		switch sightOf(at) {
		case outOfSight:
			return true
		case textUnseen:
			if at == n {
				return true
			}
		case transparent:
			if !changesLater(n) {
				return true
			}
		}
	}
	return false
}

// changesLater reports whether the document of n has scripts or style sheets, which let content appear that is transparent
// at first.
func changesLater(n *html.Node) bool {
	for n.Parent != nil {
		n = n.Parent
	}
	for n := range n.Descendants() {
		switch n.DataAtom {
		case atom.Script, atom.Style:
			return true
		case atom.Link:
			if rel, _ := Attribute(n, "rel"); strings.Contains(strings.ToLower(rel), "stylesheet") {
				return true
			}
		}
	}
	return false
}
