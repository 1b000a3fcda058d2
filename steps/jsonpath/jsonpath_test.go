package jsonpath

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theory/jsonpath"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/limit"
)

const store = `{"store":{"book":[{"a":"x","price":8.95},{"a":"y","price":12.99,"isbn":"1"},{"a":"z","price":22.99}],"b":{"price":19.95}},"e":[],"n":null,"o":{"":1,"'":2}}`

var queries = []string{
	"$", "$.store.book[0].a", "$.store.book[*].price", "$..price", "$..*", "$..book[-1]", "$..book[0,1]", "$..book[:2]", "$..book[::-1]",
	"$..book[1:9:2]", "$..book[-9:-1]", "$..[?@.isbn]", "$..book[?@.price < 10].a", "$..book[?@.price == $.store.book[0].price]", "$..*..*", "$.e[*]", "$.none", "$.o['']",
	`$.o["'"]`, "$..book[?match(@.a, '[xy]')]['a','price']", "$.store.book[9]", "$.store.book[-9]", "$.store[0]", "$.e.a", "$..book[5:1:-2]", "$[?@.book[?@.isbn]]",
}

// selected returns values with their paths, sorted, since the library visits objects in any order.
func selected(values []Value) (all []string) {
	for _, v := range values {
		all = append(all, v.Path()+" "+fmt.Sprint(v.Value))
	}
	slices.Sort(all)
	return all
}

func byLibrary(t *testing.T, document, query string) (all []string) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.UseNumber()
	var root any
	if err := decoder.Decode(&root); err != nil {
		t.Fatal(err)
	}
	for _, n := range jsonpath.MustParse(query).SelectLocated(root) {
		all = append(all, n.Path.String()+" "+fmt.Sprint(n.Node))
	}
	slices.Sort(all)
	return all
}

// What is selected is what the library selects.
func TestQuery(t *testing.T) {
	for _, query := range queries {
		values, _, err := Query(t.Context(), nil, []byte(store), query, "it")
		if err != nil {
			t.Fatal(query, err)
		}
		if got, want := selected(values), byLibrary(t, store, query); !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %q\nwant %q", query, got, want)
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, query := range queries {
		f.Add(store, query)
	}
	f.Fuzz(func(t *testing.T, document, query string) {
		if !json.Valid([]byte(document)) || len(document) > 2000 || strings.Count(query, "..") > 2 {
			t.Skip()
		}
		if _, err := jsonpath.Parse(query); err != nil {
			t.Skip()
		}
		values, _, err := Query(t.Context(), nil, []byte(document), query, "it")
		if exceeded := (*limit.Error)(nil); errors.As(err, &exceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, want := selected(values), byLibrary(t, document, query); !slices.Equal(got, want) {
			t.Errorf("%q\ngot  %q\nwant %q", query, got, want)
		}
	})
}

func TestLimits(t *testing.T) {
	flat := func(n int64) string { return "[" + strings.Repeat("1,", int(n-2)) + "1]" }
	deep := func(n int64) string { return strings.Repeat("[", int(n)) + strings.Repeat("]", int(n)) }
	for _, c := range []struct {
		name, document, query string
		memory                int64
		want                  limit.Limit
	}{
		{"as many values as may be", flat(valuesLimit.Most), "$[0]", 256 << 20, limit.Limit{}},
		{"one more", flat(valuesLimit.Most + 1), "$[0]", 256 << 20, valuesLimit},
		{"commas in texts are not values", `["` + strings.Repeat(",", int(valuesLimit.Most)) + `"]`, "$[0]", 0, limit.Limit{}},
		{"as deep as may be", deep(depthLimit.Most), "$[0]", 0, limit.Limit{}},
		{"deeper", deep(depthLimit.Most + 1), "$[0]", 0, depthLimit},
		{"the memory of values", flat(100_000), "$[0]", 1 << 20, limit.RunMemory.With(1 << 20)},
		{"the memory of objects", "[" + strings.Repeat(`{"a":1},`, 5000) + "1]", "$[0]", 1 << 20, limit.RunMemory.With(1 << 20)},
		{"everything in everything", "[" + strings.Repeat(deep(100)+",", 100) + "1]", "$..*..*", 0, foundLimit},
		{"the same several times", flat(1000), "$[*,*,*,*,*,*,*,*,*,*]" + strings.Repeat("[*,*,*,*,*,*,*,*,*,*]", 2), 0, limit.Limit{}},
		{"more than may be found", flat(foundLimit.Most + 100), "$[*]", 0, foundLimit},
		{"a filter in a filter", flat(nestedLimit.Most + 1), "$[?@[?@ > 1]]", 0, nestedLimit},
		{"twice everything in a filter", flat(nestedLimit.Most + 1), "$[?@..a..b]", 0, nestedLimit},
		{"a filter with such texts", flat(nestedLimit.Most + 1), `$[?@.a == "..?..\"?"]`, 0, limit.Limit{}},
	} {
		memory := limit.NewMemory(c.memory, nil)
		_, _, err := Query(t.Context(), memory, []byte(c.document), c.query, "it")
		exceeded := (*limit.Error)(nil)
		if errors.As(err, &exceeded) != (c.want.Most > 0) || exceeded != nil && exceeded.Limit != c.want || exceeded == nil && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if memory.Used() != 0 {
			t.Errorf("%s: %d bytes are still taken", c.name, memory.Used())
		}
	}
}

// A query ends with its context, while the document is read and while the query is evaluated.
func TestQueryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	_, _, err := Query(ctx, nil, []byte(store), "$..*", "it")
	if failure := (*Error)(nil); !errors.As(err, &failure) || failure.Reason() != result.ReasonTimeout {
		t.Error(err)
	}
	e := evaluation{ctx: ctx, root: slices.Repeat([]any{true}, 10*lookEvery)}
	if got := e.query(jsonpath.MustParse("$[?@.a]").Query()); got != nil || e.moves > 2*lookEvery {
		t.Error(e.moves)
	}
}

// The memory that is counted is near to what a document takes.
func TestMemoryIsNearTheTruth(t *testing.T) {
	for name, document := range map[string]string{
		"numbers": "[" + strings.Repeat("1,", 200_000) + "1]",
		"arrays":  "[" + strings.Repeat("[1],", 100_000) + "1]",
		"objects": "[" + strings.Repeat(`{"a":1},`, 50_000) + "1]",
		"records": "[" + strings.Repeat(`{"id":12345,"name":"some name","tags":["a","b"],"at":"2026-01-01T00:00:00Z"},`, 10_000) + "1]",
		"texts":   "[" + strings.Repeat(`"a text of some length",`, 50_000) + "1]",
	} {
		counted := measure([]byte(document)).bytes([]byte(document))
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, root, err := Query(t.Context(), nil, []byte(document), "$", "it")
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		held := int64(after.HeapAlloc) - int64(before.HeapAlloc) + int64(len(document))
		if t.Logf("%s: %d bytes, counted %d, held %d", name, len(document), counted, held); held > counted+counted/4 || counted > 3*held {
			t.Errorf("%s: counted %d bytes, held %d", name, counted, held)
		}
		if reflect.ValueOf(root).Len() == 0 {
			t.Error("empty")
		}
	}
}
