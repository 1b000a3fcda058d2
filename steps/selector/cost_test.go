package selector

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/limit"
)

func TestCostsOf(t *testing.T) {
	for text, want := range map[string]costs{
		"a":                                 {},
		" a ":                               {},
		"a b":                               {ancestors: 1},
		"a > b + c":                         {},
		"a>b c\n d":                         {ancestors: 2},
		"a ~ b~c":                           {siblings: 2},
		`a[b~="c d"] [x = "y ]"]`:           {ancestors: 1},
		`a:contains("b c ~") d`:             {ancestors: 1, contents: 1},
		":not( a b )":                       {ancestors: 1},
		"div:has(a:has(b)):has( > c ) .x y": {ancestors: 2, contents: 2},
		`a\ b`:                              {},
	} {
		if got := costsOf(text); len(got) != 1 || got[0] != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if got := costsOf("a b, c:not(d, e), f g h"); len(got) != 3 || got[0].ancestors != 1 || got[1].ancestors != 0 || got[2].ancestors != 2 {
		t.Errorf("%+v", got)
	}
}

// A selector that may look too often at other elements is refused by the shape of the page; one for usual pages is not.
func TestSelectorSteps(t *testing.T) {
	parse := func(source string) *html.Node {
		doc, err := html.Parse(strings.NewReader(source))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	deep := parse(strings.Repeat("<div>", 300) + "<b>x</b>")
	wide := parse(strings.Repeat("<i></i>", 10_000))
	usual := parse(strings.Repeat(strings.Repeat("<div>", 30)+"<a href=x>y</a>"+strings.Repeat("</div>", 30), 100))
	for _, c := range []struct {
		doc     *html.Node
		text    string
		refused bool
	}{
		{deep, "div div b", false},
		{deep, "#a div div div p b", true},
		{deep, "div:has(b):has(c) b", false},
		{wide, "i ~ i", false},
		{wide, "i ~ i ~ u", true},
		{wide, "body:has(i)", false},
		{wide, "body:has(i:has(:has(u)))", true},
		{usual, "#main .content ul li a", false},
		{usual, "div div div div div a", false},
		{usual, "div:has(a) > div ~ div", false},
	} {
		_, err := CSS(t.Context(), c.doc, c.text)
		if exceeded := (*limit.Error)(nil); errors.As(err, &exceeded) != c.refused || exceeded != nil && exceeded.Limit != stepsLimit || exceeded == nil && err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
	}
}

func TestShapeOf(t *testing.T) {
	doc, err := html.Parse(strings.NewReader("<p>a<b>c</b></p><p><p>"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shapeOf(doc), (shape{nodes: 9, depth: 5, siblings: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := shapeOf(&html.Node{}); got != (shape{}) {
		t.Errorf("%+v", got)
	}
}
