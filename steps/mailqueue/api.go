package mailqueue

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/wording"
)

// ParseAPI reads an HTTP API's report about a queue: an object with the number of messages of each queue by its name,
// for at least one queue, and any other members that the server knows. It ignores unknown members.
//
//	{"active": 2, "deferred": 40, "hold": 1, "incoming": 0, "maildrop": 0, "frozen": 0, "waiting": 0,
//	 "total": 43, "bytes": 183204, "oldest_age_seconds": 7260,
//	 "destinations": {"gmail.com": 38, "example.net": 2}}
//
// total is only needed if there are more queues than those with a name here.
func ParseAPI(body []byte) (*Queue, error) {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) && syntax.Offset >= int64(len(body)) {
			return nil, ErrIncomplete
		}
		return nil, fmt.Errorf("%w: it is not a JSON object: %s", ErrFormat, wording.Syntax(body, err))
	}
	q := newQueue(nil)
	q.NoBytes, q.NoAge, q.NoDestinations = true, true, true
	for _, name := range slices.Concat(postfixQueues, eximQueues) {
		if raw, found := answer[name]; found {
			n, err := amount(name, raw)
			if err != nil {
				return nil, err
			}
			q.Counts[name] = int(n)
		}
	}
	if len(q.Counts) == 0 {
		return nil, fmt.Errorf("%w: the answer has none of the members %s; use `I ask the API` and JSONPath instead",
			ErrFormat, strings.Join(slices.Concat(postfixQueues, eximQueues), ", "))
	}
	for name, take := range map[string]func(float64){
		"total": func(n float64) { q.total = int(n) },
		"bytes": func(n float64) { q.Bytes, q.NoBytes = int64(n), false },
		"oldest_age_seconds": func(n float64) {
			if q.NoAge = false; n > 0 {
				q.Oldest = time.Now().Add(-time.Duration(n * float64(time.Second)))
			}
		},
	} {
		if raw, found := answer[name]; found && string(raw) != "null" {
			n, err := amount(name, raw)
			if err != nil {
				return nil, err
			}
			take(n)
		}
	}
	if q.total > 0 && q.total < q.Messages() || answer["total"] != nil && q.total < q.Messages() {
		return nil, fmt.Errorf("%w: total is %d, but the sum of the queues is %d", ErrFormat, q.total, q.Messages())
	}
	return q, q.destinations(answer["destinations"])
}

func (q *Queue) destinations(raw json.RawMessage) error {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	var domains map[string]json.RawMessage
	if err := json.Unmarshal(raw, &domains); err != nil {
		return fmt.Errorf("%w: destinations is not a JSON object: %s", ErrFormat, wording.Syntax(raw, err))
	}
	q.NoDestinations = false
	for domain, raw := range domains {
		n, err := amount("destinations."+domain, raw)
		if err != nil {
			return err
		}
		if n > 0 {
			q.Destinations[strings.ToLower(domain)] = &Destination{Messages: int(n)}
		}
	}
	return nil
}

// amount reads a count.
func amount(name string, raw json.RawMessage) (float64, error) {
	var n *float64
	if err := json.Unmarshal(raw, &n); err != nil || n == nil || *n < 0 || *n > math.MaxInt32*1e6 {
		return 0, fmt.Errorf("%w: %s is %.40s, which is not a count", ErrFormat, name, raw)
	}
	return *n, nil
}
