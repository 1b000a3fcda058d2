package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// newPages starts a website of fixed pages. It is called www.example.test and, for frames of another site, other.test.
// /echo responds as echo does; more adds other handlers.
func newPages(t *testing.T, pages map[string]string, more ...func(*http.ServeMux)) *site {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	mux := http.NewServeMux()
	for path, page := range pages {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			if strings.HasSuffix(path, ".svg") {
				w.Header().Set("Content-Type", "image/svg+xml")
			}
			_, _ = io.WriteString(w, page)
		})
	}
	mux.HandleFunc("/echo", echo)
	for _, add := range more {
		add(mux)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	return &site{target: &steps.Target{ConnectTo: map[string]string{
		"www.example.test:80": address, "other.test:80": address, "closed.test:80": "127.0.0.1:1",
	}}}
}

func at(path string) string { return `I go to "http://www.example.test` + path + `"` + "\n" }

const pageShop = `<!doctype html><html><head><title>Our  shop &amp;
 more</title></head><body>
<header><a href="/echo?home">Home</a></header>
<nav aria-label="Breadcrumb"><a href="/echo?tea">Tea</a></nav>
<main><h1>Teas</h1><p>All&nbsp;of them</p>
<h2>Green <b>tea</b></h2><p>From Japan</p><div><p>Sencha</p></div>
<div class="box"><h2>Black tea</h2></div><p>From India</p><h3>Assam</h3><p>Strong</p>
<section aria-labelledby="c"><h2 id="c">Cups</h2><p>White cups</p><p hidden>Blue cups</p></section><p>After all</p>
<fieldset><legend>Payment</legend><label><input type="checkbox" name="v">Voucher</label></fieldset>
<ul class="news"><li>One</li><li>Two</li><li hidden>Three</li></ul><ul class="news"><li>Four</li></ul>
<img src="/pics/pot.svg?v=1" alt="A tea pot" width=5 height=5><button disabled>Pay</button><button hidden>Refund</button>
<div role="heading" aria-level="2">Said heading</div><h2 hidden>Unsaid heading</h2><h2>Twice</h2><h2>Twice</h2>
</main><footer>Imprint</footer></body></html>`

const pagePrices = `<h2>Prices</h2><table id="prices"><thead><tr><th>Article<th>Price<th>Stock</tr></thead>
<tbody><tr><td>Tea</td><td>3.20&nbsp;€</td><td>yes</td></tr><tr><td>Coffee</td><td>4.10 €</td><td rowspan="2">no</td></tr>
<tr><td> Cocoa
</td><td><b>2</b>.90 €</td></tr><tr hidden><td>Gin</td><td>9</td><td>yes</td></tr></tbody></table>
<table><caption>Hours</caption><tr><td>Day</td><td>Open</td></tr><tr><td>Monday</td><td>9 to 5</td></tr></table>
<table><caption>None</caption><tr><th>Void</th></tr></table><table class="wide"><tr><th colspan="2">Both</th></tr><tr><td>a</td><td>b</td></tr></table>`

const pageFields = `<form action="/echo"><label>Name <input name="name" value=" Ann&nbsp; Bob "></label><label>Remarks <textarea name="remarks">by
post</textarea></label>
<label>Country <select name="country"><option value="de">Germany<option value="fr" selected>France</select></label>
<label>Colours <select name="colours" multiple><option>Red<option>Blue</select></label><input name="void" placeholder="Nothing">
<label><input type="checkbox" name="gift" checked>Gift</label><label><input type="radio" name="speed" value="fast">Express</label>
<label>PIN <input type="password" name="pin" value="1234"></label><label>Photo <input type="file" name="photo"></label>
<fieldset disabled><legend><label>Free <input name="free"></label></legend><label>Voucher <input name="voucher"></label><button>Redeem</button></fieldset>
<button id="go">Go on</button></form>`

func TestWebLooking(t *testing.T) {
	s := newPages(t, map[string]string{"/shop": pageShop, "/prices": pagePrices, "/fields": pageFields, "/bare": `<p>x</p>`,
		"/pics/pot.svg": `<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"/>`})
	shop, prices, fields := at("/shop"), at("/prices"), at("/fields")
	const onShop, onPrices, onFields = " on http://www.example.test/shop (200 OK): ", " on http://www.example.test/prices (200 OK): ", " on http://www.example.test/fields (200 OK): "
	s.runBoth(t, []sentenceCase{
		{"title", shop + "the title should be \"Our shop & more\"\nthe title should contain \"shop\"", ""},
		{"another title", shop + `the title should be "Our shop"`, `unexpected web: expect the title to be "Our shop"` + onShop + `got "Our shop & more"`},
		{"title without", shop + `the title should contain "Shop"`, `unexpected web: expect the title to contain "Shop"` + onShop + `got "Our shop & more"`},
		{"no title", at("/bare") + `the title should contain "x"`, `unexpected web: expect the title to contain "x" on http://www.example.test/bare (200 OK): the page has no title`},

		{"see within time", shop + `I should see "All of them" within 1s`, ""},
		{"see within too short a time", shop + `I should see "Whisky" within 50ms`, `unexpected web: see "Whisky"` + onShop + `the page does not show it; it begins with "Home Tea Teas All of them Green tea From Japan Sencha Black …"`},

		{"within landmarks", shop + `within "footer" I should see "Imprint"
			within "Header" I should see "Home"
			within "navigation" I should see "Tea"
			within "Breadcrumb" I should see "Tea"
			within "main" I should not see "Imprint"`, ""},
		{"within headings", shop + `within "Green tea" I should see "Sencha"
			within "Green tea" I should not see "From India"
			within "Black tea" I should see "Strong"
			within "black tea" I should not see "White cups"
			within "Assam" I should see "Strong"
			within "Assam" I should not see "From India"
			within "Teas" I should see "From India"`, ""},
		{"within a section", shop + "within \"Cups\" I should see \"White cups\"\nwithin \"Cups\" I should not see \"After all\"\nwithin \"Cups\" I should not see \"Blue cups\"\nwithin \"c\" I should see \"White\"", ""},
		{"within a fieldset", shop + "within \"Payment\" I should see \"Voucher\"\nwithin \"Payment\" I should not see \"One\"", ""},
		{"within a selector", shop + "within \"ul.news\" I should see \"Two\"\nwithin \"ul.news\" I should see \"Four\"\nwithin \"ul.news\" I should not see \"Three\"", ""},
		{"within, but not there", shop + `within "Green tea" I should see "From India"`, `unexpected web: see "From India" within "Green tea"` + onShop + `the region does not show it; it begins with "Green tea From Japan Sencha"`},
		{"within, but there", shop + `within "main" I should not see "India"`, `unexpected web: not see "India" within "main"` + onShop + `the region shows it: "…ncha Black tea From India Assam Strong Cups W…"`},
		{"within nothing", shop + `within "Coffee" I should not see "India"`, `not_found web: not see "India" within "Coffee"` + onShop +
			`there is no such region; the page has "header", "Breadcrumb", "main", "Cups", "Payment", "footer", "Teas", "Green tea", "Black tea", "Assam", 2 more`},
		{"within two", shop + `within "Twice" I should see "x"`, `not_found web: see "x" within "Twice"` + onShop + `the name is ambiguous: 2 regions match: "Twice", "Twice"`},
		{"within a hidden heading", shop + `within "Unsaid heading" I should not see "x"`, `not_found web: not see "x" within "Unsaid heading"` + onShop + `the region "Unsaid heading" is hidden`},
		{"within, no text", shop + `within "main" I should not see " "`, `scenario scenario: see " ": the text is empty`},
		{"within no name", shop + `within "" I should not see "x"`, `scenario scenario: not see "x" within "": the region's name is empty`},

		{"things", shop + `I should see the link "home"
			I should not see the link "Imprint"
			I should see the button "Pay"
			I should not see the button "Refund"
			I should see the heading "Green tea"
			I should see the heading "Said"
			I should not see the heading "Unsaid"
			I should not see the heading "Sencha"
			I should see the image "A tea pot"
			I should see the image "pot.svg"
			I should not see the image "cup"`, ""},
		{"no link", shop + `I should see the link "Wine"`, `unexpected web: see the link "Wine"` + onShop + `there is no such link; the page has "Home", "Tea"`},
		{"a link", shop + `I should not see the link "tea"`, `unexpected web: not see the link "tea"` + onShop + `the page shows the link "Tea"`},
		{"no button", shop + `I should see the button "Refund"`, `unexpected web: see the button "Refund"` + onShop + `the button "Refund" is hidden`},
		{"a button", shop + `I should not see the button "Pay"`, `unexpected web: not see the button "Pay"` + onShop + `the page shows the button "Pay"`},
		{"no heading", shop + `I should see the heading "Sencha"`, `unexpected web: see the heading "Sencha"` + onShop + `there is no such heading; the page has "Teas", "Green tea", "Black tea", "Assam", "Cups", "Said heading", "Twice", "Twice"`},
		{"a heading", shop + `I should not see the heading "Cups"`, `unexpected web: not see the heading "Cups"` + onShop + `the page shows the heading "Cups"`},
		{"no image", shop + `I should see the image "cup.svg"`, `unexpected web: see the image "cup.svg"` + onShop + `there is no such image; the page has "A tea pot"`},
		{"an image", shop + `I should not see the image "pot"`, `unexpected web: not see the image "pot"` + onShop + `the page shows the image "A tea pot"`},
		{"no images", prices + `I should see the image "x"`, `unexpected web: see the image "x"` + onPrices + `the page has no image at all`},
		{"a link without a name", shop + `I should not see the link ""`, `scenario scenario: not see the link "": the text is empty`},

		{"elements", shop + "there should be 3 elements \"ul.news > li\"\nthere should be 1 element \"[aria-level='2']\"\nthere should be at least 2 elements \"ul, ol\"\nthere should be 0 elements \"video\"", ""},
		{"other elements", shop + `there should be 4 elements "li"`, `unexpected web: expect 4 elements "li"` + onShop + `got 3, and 1 hidden`},
		{"too few elements", shop + `there should be at least 4 elements "ul"`, `unexpected web: expect at least 4 elements "ul"` + onShop + `got 2`},
		{"elements by XPath", shop + "there should be 3 elements \"//ul[@class='news']/li\"\nthere should be 1 element \"(//h2)[1]\"\nthere should be 0 elements \"//video\"\n" +
			"within \"//ul[2]\" I should see \"Four\"\nwithin \"//ul[2]\" I should not see \"One\"", ""},
		{"other elements by XPath", shop + `there should be 4 elements "//ul/li"`, `unexpected web: expect 4 elements "//ul/li"` + onShop + `got 3, and 1 hidden`},
		{"a table by XPath", prices + "the table \"//table[thead]\" should have the rows:\n| Article |\n| Tea |", ""},
		{"no XPath", shop + `there should be 4 elements "//li["`, `scenario scenario: expect 4 elements "//li[": "//li[" is not a valid XPath: expression must evaluate to a node-set`},
		{"an XPath of attributes", shop + `there should be 4 elements "//a/@href"`, `scenario scenario: expect 4 elements "//a/@href": "//a/@href" does not select only elements: remove the part after the last element, such as /text() or /@href`},
		{"an XPath of a number", shop + `there should be 4 elements "(1 + 1)"`, `scenario scenario: expect 4 elements "(1 + 1)": "(1 + 1)" is an XPath that selects no elements`},
		{"no selector", shop + `there should be 4 elements "li["`, `scenario scenario: expect 4 elements "li[": "li[" is not a valid CSS selector: expected identifier, found EOF instead`},

		{"table", prices + `the table "Prices" should have the rows:
			| Stock | Article |
			| no | Cocoa |
			| yes | Tea |
			the table "prices" should have 3 rows
			the table "Hours" should have exactly the rows:
			| Day | Open |
			| Monday | 9 to 5 |
			the table "None" should have exactly the rows:
			| Void |
			the table "table.wide" should have 1 row
			the table "Prices" should have exactly the rows:
			| Price |
			| 3.20 € |
			| 4.10 € |
			| 2.90 € |`, ""},
		{"no row", prices + "the table \"Prices\" should have the rows:\n| Article | Price |\n| Cocoa | 3.00 € |", `unexpected web: expect the table "Prices" to have the rows` + onPrices + `| Cocoa | 3.00 € |: the table has no such row; the closest is | Cocoa | 2.90 € |`},
		{"a row once", prices + "the table \"Prices\" should have the rows:\n| Article |\n| Tea |\n| Tea |", `unexpected web: expect the table "Prices" to have the rows` + onPrices + `| Tea |: the table has no such row; the first is | Tea |`},
		{"a hidden row", prices + "the table \"Prices\" should have the rows:\n| Article |\n| Gin |", `unexpected web: expect the table "Prices" to have the rows` + onPrices + `| Gin |: the table has no such row; the first is | Tea |`},
		{"no column", prices + "the table \"Prices\" should have the rows:\n| Article | Colour |\n| Tea | green |", `unexpected web: expect the table "Prices" to have the rows` + onPrices + `the table has no column "Colour"; its columns are | Article | Price | Stock |`},
		{"rows in another order", prices + "the table \"Prices\" should have exactly the rows:\n| Article |\n| Coffee |\n| Tea |\n| Cocoa |", `unexpected web: expect the table "Prices" to have exactly the rows` + onPrices + `row 1 is | Tea | instead of | Coffee |`},
		{"more rows", prices + "the table \"Prices\" should have exactly the rows:\n| Article |\n| Tea |\n| Coffee |", `unexpected web: expect the table "Prices" to have exactly the rows` + onPrices + `the table has 3 rows instead of 2; row 3 is | Cocoa |`},
		{"fewer rows", prices + "the table \"Hours\" should have exactly the rows:\n| Day |\n| Monday |\n| Tuesday |", `unexpected web: expect the table "Hours" to have exactly the rows` + onPrices + `row 2 should be | Tuesday |, but the table has only 1 rows`},
		{"rows of an empty table", prices + "the table \"None\" should have the rows:\n| Void |\n| x |", `unexpected web: expect the table "None" to have the rows` + onPrices + `| x |: the table has no rows`},
		{"number of rows", prices + `the table "Prices" should have 4 rows`, `unexpected web: expect the table "Prices" to have 4 rows` + onPrices + `got 3`},
		{"no table", prices + `the table "Guests" should have 1 row`, `not_found web: expect the table "Guests" to have 1 rows` + onPrices + `there is no such table; the page has "Prices", "Hours", "None", one without a name`},
		{"no table beneath", prices + `the table "Prices" should have the rows:`, `scenario scenario: the step needs a table: column names in its first row, and the wanted rows below`},

		{"fields", fields + `the field "Name" should be "Ann Bob"
			the field "remarks" should contain "by post"
			the field "Remarks" should not contain "by bus"
			the field "Country" should be "France"
			"France" should be selected in "Country"
			the field "Nothing" should be empty
			the field "Colours" should be empty
			the field "Gift" should be checked
			the field "Express" should not be checked
			the field "Voucher" should be disabled
			the field "Free" should be enabled
			the button "Redeem" should be disabled
			the button "go" should be enabled
			I choose "Express"
			the field "Express" should be checked
			I select "Blue" from "Colours"
			"Blue" should be selected in "Colours"
			I fill in "Nothing" with "at all"
			the field "Nothing" should be "at all"
			I fill in "Nothing" with ""
			the field "Nothing" should be empty`, ""},
		{"field is not", fields + `the field "Name" should be "Ann"`, `unexpected web: expect the field "Name" to be "Ann"` + onFields + `it contains "Ann Bob"`},
		{"field has not", fields + `the field "Name" should contain "ann"`, `unexpected web: expect the field "Name" to contain "ann"` + onFields + `it contains "Ann Bob"`},
		{"field has", fields + `the field "Name" should not contain "Ann"`, `unexpected web: expect the field "Name" to not contain "Ann"` + onFields + `it contains "Ann Bob"`},
		{"field has nothing", fields + `the field "Nothing" should be "x"`, `unexpected web: expect the field "Nothing" to be "x"` + onFields + `it is empty`},
		{"field is not empty", fields + `the field "Name" should be empty`, `unexpected web: expect the field "Name" to be empty` + onFields + `it contains "Ann Bob"`},
		{"field is no text", fields + `the field "Gift" should be "on"`, "scenario scenario: expect the field \"Gift\" to be \"on\": it is a checkbox: write `the field \"Gift\" should be checked`"},
		{"field is nothing", fields + `the field "Name" should be ""`, "scenario scenario: expect the field \"Name\" to be \"\": the text is empty: write `the field \"Name\" should be empty`"},
		{"password field", fields + `the field "PIN" should be "1234"`, `scenario scenario: expect the field "PIN" to be "1234": it is a password field, whose content is never shown`},
		{"file field", fields + `the field "Photo" should be empty`, `scenario scenario: expect the field "Photo" to be empty: it is a file field, and a page does not show its content`},
		{"no field", fields + `the field "Street" should be empty`, `not_found web: expect the field "Street" to be empty` + onFields + `there is no such field; the page has "Name", "Remarks", "Country", "Colours", "Nothing", "Gift", "Express" (value "fast"), "PIN", "Photo", "Free", 1 more`},
		{"got another", fields + `"Germany" should be selected in "Country"`, `unexpected web: expect "Germany" to be selected in "Country"` + onFields + `got "France"`},
		{"got none", fields + `"Red" should be selected in "Colours"`, `unexpected web: expect "Red" to be selected in "Colours"` + onFields + `no option is selected`},
		{"not checked", fields + `the field "Express" should be checked`, `unexpected web: expect the field "Express" to be checked` + onFields + `it is not checked`},
		{"checked", fields + `the field "Gift" should not be checked`, `unexpected web: expect the field "Gift" not to be checked` + onFields + `it is checked`},
		{"checked text", fields + `the field "Name" should be checked`, `scenario scenario: expect the field "Name" to be checked: it is a text field, which cannot be checked`},
		{"enabled", fields + `the field "Free" should be disabled`, `unexpected web: expect the field "Free" to be disabled` + onFields + `it is enabled`},
		{"disabled", fields + `the field "Voucher" should be enabled`, `unexpected web: expect the field "Voucher" to be enabled` + onFields + `it is disabled`},
		{"enabled button", fields + `the button "Go on" should be disabled`, `unexpected web: expect the button "Go on" to be disabled` + onFields + `it is enabled`},
		{"disabled button", fields + `the button "Redeem" should be enabled`, `unexpected web: expect the button "Redeem" to be enabled` + onFields + `it is disabled`},
	}, map[string]string{})
}

const pageActs = `<!doctype html><html><body><a href="/echo?link">Link</a> <form action="/echo" style="display:inline"><button name="b" value="1">Button</button></form>
<div id="menu" onclick="document.getElementById('out').textContent='menu opened'"><span>Menu</span></div><p id="out">menu closed</p>
<details><summary>More</summary><p>Details told</p></details><span role="button" onclick="document.getElementById('out').textContent='said'">Say it</span>
<button type="button" onclick="setTimeout(() => document.getElementById('out').textContent='said later', 30)">Later</button>
<p>Same</p><p>Same</p><h2>Link</h2>
<div style="position:relative;width:200px;height:30px"><a href="/echo?under" style="position:absolute;inset:0">Under</a><div id="veil" style="position:absolute;inset:0"></div></div></body></html>`

// pageCases contains details that the two engines could treat differently.
const pageCases = `<!doctype html><html><head><style>.up{text-transform:uppercase}</style></head><body>
<div id="host"><template shadowrootmode="open"><p>In the shade</p><button>Shady</button></template></div>
<h2 class="up">Written small</h2><p style="visibility:hidden">Veiled<span style="visibility:visible">Unveiled</span></p>
<details><summary>Summary</summary><p>Folded</p><a href="/echo?folded">Folded link</a></details>
<fieldset disabled><legend>All</legend><input name="a" aria-label="Off"><button>Pay</button></fieldset>
<a href="/echo?same">Twin</a><a href="/echo?same">Twin</a><a href="/echo?x">Other</a><a href="/echo?y">Other</a>
<p>Zero&#8203;width so&shy;ft a&#8239;b&#8199;c&emsp;d</p><p>Line<br>break</p><table><tr><td>cell</td><td>next</td></tr></table>
<dialog>Closed dialog</dialog><dialog open>Open dialog</dialog><div popover>Popped</div><textarea>In a field</textarea><template><p>Template</p></template>
<noscript>No script</noscript><p aria-hidden="true">For eyes</p><a href="/echo?icon" aria-label="Basket"><i></i>&nbsp;5</a></body></html>`

func TestWebActing(t *testing.T) {
	s := newPages(t, map[string]string{"/acts": pageActs, "/cases": pageCases})
	acts, cases := at("/acts"), at("/cases")
	const onActs, onCases = " on http://www.example.test/acts (200 OK): ", " on http://www.example.test/cases (200 OK): "
	byScript := func(name, element string) string {
		return `scenario scenario: click "` + name + `"` + onActs + `a click on <` + element + `> needs a script; that needs a browser: tag the scenario @browser`
	}
	s.runBoth(t, []sentenceCase{
		{"click a link", acts + "I click \"Link\"\nI should be on /echo?link", ""},
		{"click a button", acts + "I click \"button\"\nI should be on /echo?b=1", ""},
		{"click a summary", acts + "I should not see \"Details told\"\nI click \"More\"\nI should see \"Details told\"\nI click \"More\"\nI should not see \"Details told\"", ""},
		{"click a plain element", acts + "I click \"Menu\"\nI should see \"menu opened\"", byScript("Menu", "span")},
		{"click a role", acts + "I click \"say\"\nI should see \"said\"", byScript("say", "span")},
		{"click one of two", acts + `I click "Same"`, `not_found web: click "Same"` + onActs + `the name is ambiguous: 2 elements match: <p> "Same", <p> "Same"`},
		{"click nothing", acts + `I click "Nothing"`, `not_found web: click "Nothing"` + onActs + `there is no such link or button; the page has "Link", "Under", "Button", "Later", "More", "Say it"`},
		{"click what is covered", acts + `I click "Under"`, ""},
		{"see after a while", acts + "I click \"Later\"\nI should see \"said later\" within 5s", `scenario scenario: click "Later"` + onActs + `a button of type=button does not submit a form; that needs a browser: tag the scenario @browser`},
		{"back", acts + "I click \"Link\"\nI go back\nI should be on /acts\nI should see \"menu closed\"", ""},
		{"back twice", acts + "I click \"Link\"\nI go to /cases\nI go back\nI should be on /echo?link\nI go back\nI should be on /acts", ""},
		{"back from the first page", acts + "I go back", "scenario scenario: go back: there is no previous page"},
		{"back before going", "I go back", "scenario scenario: go back: there is no previous page"},
		{"reload", acts + "I click \"More\"\nI reload the page\nI should be on /acts\nI should not see \"Details told\"", ""},
		{"reload before going", "I reload the page", "scenario scenario: there is no page yet: write `I go to \"https://www.example.org/\"` before this step"},

		{"shadow tree", cases + "I should see \"In the shade\"\nI should see the button \"Shady\"", ""},
		{"text-transform", cases + "I should see \"Written small\"\nwithin \"Written small\" I should see \"Written small\"\nI should see the heading \"Written small\"", ""},
		{"visibility", cases + "I should see \"Unveiled\"\nI should not see \"Veiled\"", ""},
		{"closed details", cases + "I should see \"Summary\"\nI should not see \"Folded\"", ""},
		{"link in closed details", cases + `I follow "Folded link"`, `not_found web: follow "Folded link"` + onCases + `the link "Folded link" is hidden`},
		{"disabled fieldset", cases + `I press "Pay"`, `not_found web: press "Pay"` + onCases + `the button "Pay" is disabled`},
		{"field of a disabled fieldset", cases + `I fill in "Off" with "x"`, `not_found web: fill in "Off"` + onCases + `the text field "Off" is disabled`},
		{"two links to one page", cases + "I follow \"Twin\"\nI should be on /echo?same", ""},
		{"two links to two pages", cases + `I follow "Other"`, `not_found web: follow "Other"` + onCases + `the name is ambiguous: 2 links match: "Other", "Other"`},
		{"white space", cases + "I should see \"Zerowidth soft a b c d\"\nI should see \"Line break\"\nI should see \"cell next\"\nI should see \"Zero\u200bwidth\u00a0 soft\"", ""},
		{"dialogs and popovers", cases + "I should see \"Open dialog\"\nI should not see \"Closed dialog\"\nI should not see \"Popped\"\nI should not see \"In a field\"\nI should not see \"Template\"\nI should not see \"No script\"", ""},
		{"for eyes", cases + "I should see \"For eyes\"\nI follow \"Basket\"\nI should be on /echo?icon", ""},
	}, map[string]string{
		"click a plain element": "", "click a role": "", "see after a while": "",
		"click what is covered": `not_found web: click "Under"` + onActs + `a click on it would hit <div id="veil"> instead, which covers it`,
	})
}

// TestHurried checks that an error mentions when the scenario's time cut a wait short.
func TestHurried(t *testing.T) {
	s := newPages(t, map[string]string{"/{$}": "<p>Begin</p>"})
	s.limit = 2 * time.Second
	wait := at("/") + `I should see "End" within 30s`
	const missing = `unexpected web: see "End" on http://www.example.test/ (200 OK): the page does not show it; it begins with "Begin"`
	fixture.Expect(t, s.run(t, wait), missing)
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	o := s.run(t, wait)
	if err := o.Err(); err == nil || !regexp.MustCompile(`; it begins with "Begin"; only \S+ of the wait of 30s fit into the scenario's time$`).MatchString(err.Error()) {
		t.Errorf("got %v", err)
	}
}
