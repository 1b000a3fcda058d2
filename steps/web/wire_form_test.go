package web_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormsOnWire sends forms by the rules of HTML for the entry list and its encodings.
func TestFormsOnWire(t *testing.T) {
	folder := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("a\r\nb\nc"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const latin, sjis = "Content-Type: text/html; charset=iso-8859-1", "Content-Type: text/html; charset=shift_jis"
	const send = "I press \"Send\"\nI should see \"Reached\""
	form := func(attributes, inside string) string {
		return "<form " + attributes + ">" + inside + "<button>Send</button></form>"
	}
	post := func(body string) string { return "POST /to HTTP/1.1\n" + body }
	get := func(query string) string { return "GET /to?" + query + " HTTP/1.1" }
	// as is a form by GET, as it is.
	as := func(name, inside, query string) wireCase {
		return wireCase{name: name, page: form("action=/to", inside), do: send, want: get(query)}
	}
	part := func(name, value string) string {
		return fmt.Sprintf(`--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n`, name, value)
	}
	filled := func(kind, value, query string) wireCase {
		return wireCase{name: kind + " filled in", page: form("action=/to", `<input name=a type=`+kind+` aria-label=A>`), do: `I fill in "A" with "` + value + "\"\n" + send, want: get(query)}
	}
	cases := []wireCase{
		as("in a template", `<input name=a value=1><template><input name=b value=2><select name=c><option>x</select></template>`, "a=1"),
		as("characters", `<input name="a b" value="-_.*~!'()%+&amp;=/?ü">`, "a+b=-_.*%7E%21%27%28%29%25%2B%26%3D%2F%3F%C3%BC"),
		as("nothing", ``, ""),
		as("without a name", `<input value=1><input name="" value=2>`, ""),
		as("line breaks in one line", "<input name=a value='x&#10;y&#13;z'><input name=b type=search value='x&#13;&#10;y'><input name=c type=tel value='1&#10;2'><input name=d type=password value='p&#10;q'><input name=e type=unknown value='u&#10;v'>", "a=xyz&b=xy&c=12&d=pq&e=uv"),
		as("line breaks in hidden", "<input name=a type=hidden value='x&#10;y&#13;z'>", "a=x%0D%0Ay%0D%0Az"),
		as("line breaks in a text area", "<textarea name=a>\nx\ny\r\nz</textarea>", "a=x%0D%0Ay%0D%0Az"),
		as("line breaks in a name", "<input name='a&#10;b' value=1>", "a%0D%0Ab=1"),
		as("URL", "<input name=a type=url value='  http://x/&#10; y '>", "a=http%3A%2F%2Fx%2F+y"),
		as("e-mail", "<input name=a type=email value=' a@b.test '><input name=b type=email multiple value=' a@b.test , c@d.test '>", "a=a%40b.test&b=a%40b.test%2Cc%40d.test"),
		as("numbers", "<input name=a type=number value=1.5><input name=b type=number value=x><input name=c type=number value='1,5'><input name=d type=number value=-1e3><input name=e type=number value=+1><input name=f type=number value=1.>", "a=1.5&b=&c=&d=-1e3&e=&f="),
		as("ranges", "<input name=a type=range><input name=b type=range value=7><input name=c type=range value=200><input name=d type=range min=10 max=20 step=4 value=13><input name=e type=range min=5 max=1><input name=f type=range step=any value=0.25><input name=g type=range min=0 max=1 step=0.1 value=0.34>", "a=50&b=7&c=100&d=14&e=5&f=0.25&g=0.3"),
		as("dates", "<input name=a type=date value=2026-02-28><input name=b type=date value=2026-02-29><input name=c type=date value=1.2.2026><input name=d type=month value=2026-13><input name=e type=month value=2026-12><input name=f type=week value=2026-W53><input name=g type=week value=2027-W53>", "a=2026-02-28&b=&c=&d=&e=2026-12&f=2026-W53&g="),
		as("times", "<input name=a type=time value=23:59><input name=b type=time value=24:00><input name=c type=time value=1:00><input name=d type=datetime-local value='2026-01-01 10:00:00'><input name=e type=datetime-local value=2026-01-01T10:00:30.500><input name=f type=datetime-local value=2026-01-01>", "a=23%3A59&b=&c=&d=2026-01-01T10%3A00&e=2026-01-01T10%3A00%3A30.5&f="),
		as("colours", "<input name=a type=color><input name=b type=color value=#ABCDEF><input name=c type=color value=x>", "a=%23000000&b=%23abcdef&c=%23000000"),
		as("boxes", "<input name=a type=checkbox checked><input name=b type=checkbox><input name=c type=checkbox value='' checked><input name=d type=radio value=1><input name=d type=radio value=2 checked>", "a=on&c=&d=2"),
		as("selects", "<select name=a><option disabled>0<option>1</select><select name=b><option>1<option selected>  2 \n x <option>3</select><select name=c size=2><option>1</select><select name=d multiple><option selected>1<option selected disabled>2<option selected value=''>3</select><select name=e><optgroup disabled><option>1</optgroup><option>2</select><select name=f size=0><option>1</select><select name=g><option disabled selected>1<option>2</select><select name=h><option label=x>y</select>", "a=1&b=2+x&d=1&d=&e=2&f=1&h=y"),
		as("a no-break space in an option", "<select name=a><option>1&nbsp;kg</select>", "a=1%C2%A0kg"),
		as("disabled", "<input name=a disabled value=1><fieldset disabled><legend><input name=b value=2></legend><legend><input name=c value=3></legend><input name=d value=4></fieldset><fieldset><input name=e value=5></fieldset>", "b=2&e=5"),
		as("a datalist", "<input name=a list=l value=1><datalist id=l><input name=b value=2><option>x</datalist>", "a=1&b=2"),
		as("other buttons", "<button name=x value=1>X</button><input type=submit name=y value=Y><input type=button name=z value=Z><input type=reset name=r>", ""),
		as("objects and outputs", "<output name=a>1</output><object name=b></object><meter name=c value=1></meter>", ""),
		as("dirname", "<input name=a dirname=a.dir value=1><div dir=rtl><textarea name=b dirname=b.dir>x</textarea></div><input name=c dirname=c.dir dir=auto value='&#1488;'><input name=d type=tel dirname=d.dir value=2><input name=e dirname='' value=3>", "a=1&a.dir=ltr&b=x&b.dir=rtl&c=%D7%90&c.dir=rtl&d=2&d.dir=ltr&e=3&=ltr"),
		as("hidden _charset_", "<input type=hidden name=_charset_ value=x><input type=hidden name=_CHARSET_><input name=_charset_ value=y>", "_charset_=UTF-8&_CHARSET_=UTF-8&_charset_=y"),
		{name: "other owners", page: `<input form=f name=o value=1><form id=f action=/to><input name=a value=2><input form=g name=no value=3><input form="" name=no value=4><button>Send</button></form><form id=g></form><select form=f name=s><option>5</select>`, do: send, want: get("o=1&a=2&s=5")},
		{name: "the button's own", page: `<form action=/no method=post><input name=a value=1><button name=b value=2 formaction=/to formmethod=get>Send</button></form>`, do: send, want: get("a=1&b=2")},
		{name: "a button with an empty value", page: `<form action=/to><input name=a value=1><button name=b>Send</button></form>`, do: send, want: get("a=1&b=")},
		{name: "an empty formaction", page: `<form action=/no><button formaction="">Send</button></form>`, do: send, want: "GET /start? HTTP/1.1"},
		{name: "formenctype", page: `<form action=/to method=post><input name=a value=1><button formenctype=text/plain>Send</button></form>`, do: send, want: post(`a=1\r\n`)},
		{name: "a query that is replaced", page: form(`action="/to?old=1#f"`, `<input name=a value=1>`), do: send + "\nI should be on /to?a=1#f", want: get("a=1")},
		{name: "a query that is kept", page: form(`action="/to?old=ä b" method=post`, `<input name=a value=1>`), do: send, want: "POST /to?old=%C3%A4%20b HTTP/1.1\na=1"},
		{name: "methods that do not exist", page: form(`action=/to method=put enctype=x`, `<input name=a value=1>`), do: send, want: get("a=1")},
		{name: "no action", page: form(`method=post`, `<input name=a value=1>`), do: send, want: "POST /start HTTP/1.1\na=1"},
		{name: "a blank action", page: form(`method=post action=" "`, ``), do: send, want: "POST /start HTTP/1.1"},
		{name: "an odd action", page: form(`method=post action=" \to/50%&#10;x "`, ``), do: send, want: "POST /to/50%x HTTP/1.1"},

		{name: "Latin-1", header: latin, page: form("action=/to", "<input name=\xfc value='M\xfcller &euro; &rarr;'><input type=hidden name=_charset_>"), do: send, want: get("%FC=M%FCller+%80+%26%238594%3B&_charset_=windows-1252")},
		{name: "Latin-1, written in ASCII", header: latin, page: form("action=/to method=post", "<input name=a>"), do: "I fill in \"a\" with \"Müller\"\n" + send, want: post("a=M%FCller")},
		{name: "Latin-1 by meta", header: "Content-Type: text/html", page: "<meta charset=latin1>" + form("action=/to", "<input name=a>"), do: "I fill in \"a\" with \"ü\"\n" + send, want: get("a=%FC")},
		{name: "no encoding declared", header: "Content-Type: text/html", page: form("action=/to", "<input name=a value='&uuml;'><input type=hidden name=_charset_>"), do: send, want: get("a=%FC&_charset_=windows-1252")},
		{name: "Latin-2", header: "Content-Type: text/html; charset=iso-8859-2", page: form("action=/to", "<input name=a value='&#322;&ouml;&euro;'><input type=hidden name=_charset_>"), do: send, want: get("a=%B3%F6%26%238364%3B&_charset_=ISO-8859-2")},
		{name: "Shift_JIS", header: sjis, page: form("action=/to method=post", "<input name=a value='\x95\x5c\x93\xfa &uuml;'><input type=hidden name=_charset_>"), do: send, want: post(`a=%95%5C%93%FA+%26%23252%3B&_charset_=Shift_JIS`)},
		{name: "EUC-JP", header: "Content-Type: text/html; charset=x-euc-jp", page: form("action=/to", "<input name=a value='&#26085;'><input type=hidden name=_charset_>"), do: send, want: get("a=%C6%FC&_charset_=EUC-JP")},
		{name: "ISO-2022-JP", header: "Content-Type: text/html; charset=iso-2022-jp", page: form("action=/to", "<input name=a value='&#26085;x'><input type=hidden name=_charset_>"), do: send, want: get("a=%1B%24BF%7C%1B%28Bx&_charset_=ISO-2022-JP")},
		{name: "GB18030", header: "Content-Type: text/html; charset=gb18030", page: form("action=/to", "<input name=a value='&#20013;&uuml;&#128512;'><input type=hidden name=_charset_>"), do: send, want: get("a=%D6%D0%A8%B9%949%FC6&_charset_=gb18030")},
		{name: "GBK", header: "Content-Type: text/html; charset=gbk", page: form("action=/to", "<input name=a value='&#20013;&euro;&#128512;'><input type=hidden name=_charset_>"), do: send, want: get("a=%D6%D0%80%26%23128512%3B&_charset_=GBK")},
		{name: "Big5", header: "Content-Type: text/html; charset=big5", page: form("action=/to", "<input name=a value='&#20013;'><input type=hidden name=_charset_>"), do: send, want: get("a=%A4%A4&_charset_=Big5")},
		{name: "EUC-KR", header: "Content-Type: text/html; charset=euc-kr", page: form("action=/to", "<input name=a value='&#54620;'><input type=hidden name=_charset_>"), do: send, want: get("a=%C7%D1&_charset_=EUC-KR")},
		{name: "KOI8-R", header: "Content-Type: text/html; charset=koi8-r", page: form("action=/to", "<input name=a value='&#1078;'><input type=hidden name=_charset_>"), do: send, want: get("a=%D6&_charset_=KOI8-R")},
		{name: "UTF-16", header: "Content-Type: text/html; charset=utf-16le", page: utf16le(form("action=/to", "<input name=a value='&uuml;'><input type=hidden name=_charset_>")), do: send, want: get("a=%C3%BC&_charset_=UTF-8")},
		{name: "accept-charset", page: form("action=/to accept-charset='nonsense, latin1 utf-8'", "<input name=a value='&uuml;'><input type=hidden name=_charset_>"), do: send, want: get("a=%FC&_charset_=windows-1252")},
		{name: "accept-charset of nothing", header: latin, page: form("action=/to accept-charset=nonsense", "<input name=a value='&uuml;'>"), do: send, want: get("a=%FC")},
		{name: "accept-charset and the action", page: form("action='/to?&uuml;' method=post accept-charset=latin1", "<input name=a value='&uuml;'>"), do: send, want: "POST /to?%C3%BC HTTP/1.1\na=%FC"},

		{name: "multipart", page: form("action=/to method=post enctype=multipart/form-data", "<input name='a\"&#10;b%22\\' value='x \"ü'><textarea name=t>1\n2</textarea>"), do: send,
			want: post(part(`a%22%0D%0Ab%22\\`, `x "\u00fc`) + part("t", `1\r\n2`) + `--B--\r\n`)},
		{name: "multipart in Latin-1", header: latin, page: form("action=/to method=post enctype=multipart/form-data", "<input name=&uuml; value='&uuml;&rarr;'>"), do: send,
			want: post(part(`\xfc`, `\xfc&#8594;`) + `--B--\r\n`)},
		{name: "no file", page: form("action=/to method=post enctype=multipart/form-data", "<input type=file name=a>"), do: send,
			want: post(`--B\r\nContent-Disposition: form-data; name="a"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--B--\r\n`)},
		{name: "a file", page: form("action=/to method=post enctype=multipart/form-data", "<input type=file name=a>"), do: `I attach the file at "` + strings.ReplaceAll(file(`a "ü".txt`), `"`, `\"`) + "\" to \"a\"\n" + send,
			want: post(`--B\r\nContent-Disposition: form-data; name="a"; filename="a %22\u00fc%22.txt"\r\nContent-Type: text/plain\r\n\r\na\r\nb\nc\r\n--B--\r\n`)},
		{name: "a file of no known type", header: latin, page: form("action=/to method=post enctype=multipart/form-data", "<input type=file name=a>"), do: `I attach the file at "` + file(`ü→.nonesuch`) + "\" to \"a\"\n" + send,
			want: post(`--B\r\nContent-Disposition: form-data; name="a"; filename="\xfc&#8594;.nonesuch"\r\nContent-Type: application/octet-stream\r\n\r\na\r\nb\nc\r\n--B--\r\n`)},
		{name: "a file's name", page: form("action=/to", "<input type=file name=a><input type=file name=b>"), do: `I attach the file at "` + file("x.txt") + "\" to \"a\"\n" + send, want: get("a=x.txt&b=")},
		{name: "plain text", header: latin, page: form("action=/to method=post enctype=text/plain", "<input name='a=' value='&uuml;&rarr;'><textarea name=t>1\n2</textarea><input type=file name=f>"), do: send,
			want: post(`a==\xfc&#8594;\r\nt=1\r\n2\r\nf=\r\n`)},
		filled("text", "a\tb", "a=a%09b"), filled("email", " a@b.test ", "a=a%40b.test"), filled("date", "2026-11-30", "a=2026-11-30"),
		{name: "a text area filled in", page: form("action=/to", `<textarea name=a></textarea>`), do: "I fill in \"a\" with \"x y\"\n" + send, want: get("a=x+y")},
		{name: "form between table and row", page: `<table><form action=/to><tr><td><input name=a value=1><td><button>Send</button></tr></form></table>`, do: send, want: get("a=1")},
		{name: "form between row and cell", page: `<table><tr><form action=/to><td><input name=a value=1></td><td><button>Send</button></td></form></tr><tr><form action=/no><td><input name=b value=2></td></form></tr></table>`, do: send, want: get("a=1")},
		{name: "form that ends in a cell", page: `<table><tr><td><form action=/to><input name=a value=1></td><td><button>Send</button></form></td></tr></table><input name=no>`, do: send, want: get("a=1")},
		{name: "form that ends outside", page: `<div><form action=/to><input name=a value=1></div><input name=b value=2><button>Send</button></form><input name=no>`, do: send, want: get("a=1&b=2")},
		{name: "form after a form", page: `<table><form action=/to><tr><td><input name=a value=1><button>Send</button></td></tr></form><tr><td><input name=no></td></tr></table>`, do: send, want: get("a=1")},
		{name: "form in a form", page: `<form action=/to><input name=a value=1><form action=/no><input name=b value=2></form><input name=no value=3><button form=x>No</button></form><button>Lonely</button>`, do: strings.Replace("I submit the form named \"form\"\nI should see \"Reached\"", "x", "x", 1), want: get("a=1&b=2")},
	}
	again := func(status int) map[string]string {
		return map[string]string{"/old": wireAnswer(status, "Location: /to", "")}
	}
	for _, c := range []struct {
		status int
		want   string
	}{{301, "GET /to HTTP/1.1"}, {302, "GET /to HTTP/1.1"}, {303, "GET /to HTTP/1.1"}, {307, post("a=1")}, {308, post("a=1")}} {
		cases = append(cases, wireCase{name: fmt.Sprint("redirected with ", c.status), page: form("action=/old method=post", "<input name=a value=1>"), do: send, others: again(c.status), want: "POST /old HTTP/1.1\na=1\n\n" + c.want})
	}
	cases = append(cases,
		wireCase{name: "redirected to another origin", page: form("action=/old method=post", "<input name=a value=1>"), do: send,
			others: map[string]string{"/old": wireAnswer(307, "Location: http://example.test/to", "")}, want: "POST /old HTTP/1.1\na=1\n\nPOST /to HTTP/1.1\na=1"},
		wireCase{name: "redirected to another origin and back", page: form("action=/old method=post", "<input name=a value=1>"), do: send,
			others: map[string]string{"/old": wireAnswer(307, "Location: http://example.test/on", ""), "/on": wireAnswer(307, "Location: http://www.example.test/to", "")},
			want:   "POST /old HTTP/1.1\na=1\n\nPOST /on HTTP/1.1\na=1\n\nPOST /to HTTP/1.1\na=1"},
		wireCase{name: "another origin", page: form("action=http://example.test/to method=post", "<input name=a value=1>"), do: send, want: post("a=1")},
		wireCase{name: "an image with a size", page: `<form action=/to><input type=image name=m alt=Send width=41 height=20 src=data:></form>`, do: send, want: get("m.x=21&m.y=10")},
		wireCase{name: "an image without a name", page: `<form action=/to><input type=image alt=Send width=40 height=21 src=data:></form>`, do: send, want: get("x=20&y=11")},
		wireCase{name: "a long referrer", page: "<a href='/long?" + strings.Repeat("x", 4100) + "'>On</a>", do: "I follow \"On\"\nI follow \"Go\"", others: map[string]string{"/long?" + strings.Repeat("x", 4100): wireAnswer(200, "Content-Type: text/html", link("/to"))}, want: "GET /long?" + strings.Repeat("x", 4100) + " HTTP/1.1\n\nGET /to HTTP/1.1"},
	)
	sameOnWire(t, cases, "Referer", "Origin")
}
