package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// dispositionCases are values of Content-Disposition and the names under which both engines save the file.
var dispositionCases = []struct{ value, want string }{
	{"attachment; filename=report(1).pdf", "report(1).pdf"},
	{"attachment; filename=a@b.pdf", "a@b.pdf"},
	{"attachment; filename=two words.pdf", "two words.pdf"},
	{"attachment; filename=two words.pdf; size=5", "two words.pdf"},
	{`attachment; filename="two words.pdf"`, "two words.pdf"},
	{`attachment; filename="a;b.pdf"`, "a;b.pdf"},
	{`attachment; filename="a\"b.pdf"`, "a_b.pdf"},
	{`attachment; filename="a\\b.pdf"`, "a_b.pdf"},
	{`attachment; filename="a\b.pdf"`, "ab.pdf"},
	{`attachment; filename="../../a.pdf"`, "_.._a.pdf"},
	{`attachment; filename="/etc/passwd"`, "_etc_passwd"},
	{`attachment; filename="C:\dir\a.pdf"`, "C_dira.pdf"},
	{`attachment; filename='a.pdf'`, "'a.pdf'"},
	{"attachment; filename=a.pdf;", "a.pdf"},
	{"attachment; filename=", "file14"},
	{`attachment; filename=""`, "file15"},
	{"attachment", "file16"},
	{"attachment; filename*=UTF-8''%e2%82%ac%20rates.pdf", "€ rates.pdf"},
	{"attachment; filename=plain.pdf; filename*=UTF-8''%e2%82%ac.pdf", "€.pdf"},
	{"attachment; filename*=UTF-8''%e2%82%ac.pdf; filename=plain.pdf", "€.pdf"},
	{"attachment; filename*=ISO-8859-1''%fc.pdf", "ü.pdf"},
	{"attachment; filename*=iso-8859-15'de'%a4.pdf", "€.pdf"},
	{"attachment; filename*=UTF-8''a.pdf; filename*=UTF-8''b.pdf", "a.pdf"},
	{`attachment; filename*="UTF-8''a.pdf"`, "file23"},
	{"attachment; filename*=UTF-8''%fc.pdf; filename=x.pdf", "x.pdf"},
	{"attachment; filename*=odd''a.pdf; filename=x.pdf", "x.pdf"},
	{"attachment; filename*=a.pdf; filename=x.pdf", "x.pdf"},
	{"attachment; filename*=UTF-8''a b.pdf", "a b.pdf"},
	{"attachment; filename*=UTF-8''..%2fa.pdf", "_a.pdf"},
	{"attachment; filename=\"\xc3\xbc.pdf\"", "ü.pdf"},
	{"attachment; filename=\"\xfc.pdf\"", "file30"},
	{"attachment; filename=\xfc.pdf", "file31"},
	{`attachment; filename="=?UTF-8?Q?=C3=BC.pdf?="`, "ü.pdf"},
	{`attachment; filename="=?UTF-8?B?w7wucGRm?="`, "ü.pdf"},
	{`attachment; filename==?UTF-8?Q?=C3=BC.pdf?=`, "ü.pdf"},
	{`attachment; filename="a =?UTF-8?Q?=C3=BC.pdf?="`, "a ü.pdf"},
	{`attachment; filename="a%20b.pdf"`, "a b.pdf"},
	{`attachment; filename="%C3%BC.pdf"`, "ü.pdf"},
	{`attachment; filename="50%.pdf"`, "50%.pdf"},
	{`attachment; filename="a%2fb.pdf"`, "a_b.pdf"},
	{"filename=a.pdf", "a.pdf"},
	{"filename=a.pdf; attachment", "a.pdf"},
	{`"attachment"; filename=a.pdf`, "file42"},
	{"odd; filename=a.pdf", "a.pdf"},
	{"attachment filename=a.pdf", "file44"},
	{`attachment; filename="a,b.pdf"`, "a,b.pdf"},
	{"ATTACHMENT; FILENAME=a.pdf", "a.pdf"},
	{"attachment ; filename = a.pdf", "a.pdf"},
	{"attachment;filename=a.pdf", "a.pdf"},
	{"; filename=a.pdf", "a.pdf"},
	{"attachment; filename=a.pdf; filename=b.pdf", "a.pdf"},
	{"attachment; name=a.pdf", "file51"},
	{"attachment; filename*0=a; filename*1=b.pdf", "file52"},
	{"attachment; xfilename=x.pdf; filename=a.pdf", "a.pdf"},
	{`attachment; x="filename=x.pdf"; filename=a.pdf`, "a.pdf"},
	{`attachment; filename="a.pdf`, "a.pdf"},
	{`attachment; filename=a"b".pdf`, "a_b_.pdf"},
	{"attachment; filename=.hidden", "hidden"},
	{"attachment; filename=a.pdf.", "a.pdf"},
	{"attachment; filename=\"  a.pdf  \"", "a.pdf _"},
	{"attachment; filename=\"a\tb.pdf\"", "a b.pdf"},
	{"attachment; filename=\"a:b?c*d|e<f>.pdf\"", "a_b_c_d_e_f_.pdf"},
	{"attachment; filename=noextension", "noextension"},
	{"attachment; filename=a.PDF", "a.PDF"},
	{"attachment; filename=a~b.pdf", "a~b.pdf"},
	{"attachment; filename=..", "download"},
	{"attachment; filename=%", "%"},
	{"attachment; filename=CON.pdf", "CON.pdf"},
	{"attachment; filename=a.lnk", "a.lnk"},
	{"attachment; filename=\"a\x01b.pdf\"", "a_b.pdf"},
	{"attachment; filename=\"\xe2\x80\xaea.pdf\"", "_a.pdf"},
}

// TestDispositionsOfBothEngines saves files whose names the header tells, byte for byte, with both engines.
func TestDispositionsOfBothEngines(t *testing.T) {
	server := newRawServer(t)
	s := server.site("www.raw.test")
	var page strings.Builder
	for i, c := range dispositionCases {
		fmt.Fprintf(&page, "<a href=\"/file%d\">f%d.</a> ", i, i)
		server.answers[fmt.Sprintf("/file%d", i)] = raw("content", "Content-Type: application/octet-stream", "Content-Disposition: "+c.value)
	}
	server.answers["/a:b.bin"] = raw("content", "Content-Type: application/octet-stream")
	page.WriteString(`<a href="/a:b.bin">by address</a> <a href="/a:b.bin" download="c/d?.bin">by attribute</a>`)
	server.answers["/"] = raw(page.String(), "Content-Type: text/html")
	save := func(t *testing.T, engine string) {
		for begin := 0; begin < len(dispositionCases); begin += 12 {
			end := min(begin+12, len(dispositionCases))
			text := "I go to \"http://www.raw.test/\"\n"
			for i := begin; i < end; i++ {
				text += fmt.Sprintf("I download the file behind \"f%d.\"\n", i)
			}
			o := s.run(t, text)
			fixture.Expect(t, o, "")
			for i, step := range o.Steps[1:] {
				c := dispositionCases[begin+i]
				name, _, _ := strings.Cut(step.Report.Note, ", application/")
				if name != `"`+c.want+`"` {
					t.Errorf("%s: %q is saved as %s, wanted %q", engine, c.value, name, c.want)
				}
			}
		}
	}
	byLink := func(t *testing.T) {
		o := s.run(t, "I go to \"http://www.raw.test/\"\nI download the file behind \"by address\"\nthe download should be named \"a_b.bin\"\nI download the file behind \"by attribute\"\nthe download should be named \"c_d_.bin\"")
		fixture.Expect(t, o, "")
	}
	save(t, "over HTTP")
	byLink(t)
	if _, err := browser.Find(); err != nil {
		t.Skip("not run in a browser:", err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	setWeb(s.target, func(web *httpwire.Web) { web.Patience = 1e9 })
	save(t, "in a browser")
	byLink(t)
}
