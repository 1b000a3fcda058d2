package browser

import (
	"context"
	"errors"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
)

// Refused says why an action could not be done on an element that is there. The page may allow it later.
type Refused struct{ Why string }

func (r *Refused) Error() string { return r.Why }

// outcome is what page.js says of an action.
type outcome struct {
	Gone     bool    `json:"gone"`
	Empty    bool    `json:"empty"`
	Obstacle *string `json:"obstacle"`
	Direct   bool    `json:"direct"`
	Checked  bool    `json:"checked"`
	Value    string  `json:"value"`
	X        float64 `json:"x"`
	Y        float64 `json:"y"`
}

func (o *outcome) refusal() error {
	switch {
	case o.Gone:
		return &Refused{"it is no longer on the page"}
	case o.Empty:
		return &Refused{"it takes no room on the page"}
	case o.Obstacle != nil && *o.Obstacle != "":
		return &Refused{"a click on it would hit " + *o.Obstacle + " instead, which lies over it"}
	case o.Obstacle != nil:
		return &Refused{"it cannot be scrolled into view"}
	}
	return nil
}

// tell calls a function of page.js about one element.
func (t *Tab) tell(ctx context.Context, e Element, function string, args ...any) (*outcome, error) {
	o := &outcome{}
	t.touched = e.frame
	err := t.evaluate(ctx, e.frame, o, function, append([]any{e.number}, args...)...)
	if errors.Is(err, errReplaced) {
		return nil, &Refused{"the page was replaced by another one"}
	}
	if err != nil {
		return nil, err
	}
	return o, o.refusal()
}

// Click moves the mouse to the middle of an element and presses its button, as soon as the element rests and nothing lies
// over it. Otherwise it is a *Refused.
func (t *Tab) Click(ctx context.Context, e Element) error {
	at, err := t.tell(ctx, e, "point")
	if err != nil {
		return err
	}
	x, y := at.X, at.Y
	if e.frame != t.main {
		if x, y, err = t.place(ctx, e); err != nil {
			return err
		}
	}
	for _, event := range []input.DispatchMouseEventParams{
		{Type: input.DispatchMouseEventTypeMouseMoved, X: x, Y: y},
		{Type: input.DispatchMouseEventTypeMousePressed, X: x, Y: y, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1},
		{Type: input.DispatchMouseEventTypeMouseReleased, X: x, Y: y, Button: input.MouseButtonLeft, ClickCount: 1},
	} {
		if _, err := command(ctx, t, input.DispatchMouseEvent, event); err != nil {
			return err
		}
	}
	return nil
}

// place gives the middle of an element of a frame in the coordinates of the tab.
func (t *Tab) place(ctx context.Context, e Element) (x, y float64, err error) {
	object, err := t.object(ctx, e)
	if err != nil {
		return 0, 0, err
	}
	defer t.forget(ctx, object)
	if _, err := command(ctx, t, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{ObjectID: object}); err != nil {
		return 0, 0, err
	}
	quads, err := command(ctx, t, dom.GetContentQuads, dom.GetContentQuadsParams{ObjectID: object})
	if err != nil {
		return 0, 0, err
	}
	for _, q := range quads.Quads {
		if len(q) == 8 {
			return (q[0] + q[2] + q[4] + q[6]) / 4, (q[1] + q[3] + q[5] + q[7]) / 4, nil
		}
	}
	return 0, 0, &Refused{"it takes no room on the page"}
}

// object gives the browser's handle of an element.
func (t *Tab) object(ctx context.Context, e Element) (runtime.RemoteObjectID, error) {
	return t.handle(ctx, e.frame, fmt.Sprintf("stepwatch.element(%d)", e.number))
}

// handle gives the browser's handle of what an expression gives in a frame. It is to be forgotten.
func (t *Tab) handle(ctx context.Context, id cdp.FrameID, expression string) (runtime.RemoteObjectID, error) {
	got, err := t.run(ctx, id, expression, false)
	if err != nil {
		return "", err
	}
	if got.ObjectID == "" {
		return "", &Refused{"it is no longer on the page"}
	}
	return got.ObjectID, nil
}

func (t *Tab) forget(ctx context.Context, object runtime.RemoteObjectID) {
	_, _ = command(ctx, t, runtime.ReleaseObject, runtime.ReleaseObjectParams{ObjectID: object}) // it ends with the document at the latest
}

// Fill types a text into a field in the place of what it holds. A field that takes another value than the text, as a date
// field does with a text that is no date, is a *Refused.
func (t *Tab) Fill(ctx context.Context, e Element, text string) error {
	o, err := t.tell(ctx, e, "focus")
	if err != nil {
		return err
	}
	if o.Direct {
		if o, err = t.tell(ctx, e, "set", text); err != nil {
			return err
		}
	} else {
		if text == "" {
			for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
				if _, err := command(ctx, t, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: "Delete", Code: "Delete", WindowsVirtualKeyCode: 46}); err != nil {
					return err
				}
			}
		} else if _, err := command(ctx, t, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
			return err
		}
		if o, err = t.tell(ctx, e, "leave"); err != nil {
			return err
		}
	}
	if o.Value == "" && text != "" {
		return &Refused{"the field does not take the text"}
	}
	return nil
}

// SelectOption selects an option of a list.
func (t *Tab) SelectOption(ctx context.Context, option Element) error {
	_, err := t.tell(ctx, option, "select")
	return err
}

// Checked says whether a checkbox or radio button is checked.
func (t *Tab) Checked(ctx context.Context, e Element) (bool, error) {
	o, err := t.tell(ctx, e, "state")
	if err != nil {
		return false, err
	}
	return o.Checked, nil
}

// Submit sends a form as its own button would, with the checks of its fields.
func (t *Tab) Submit(ctx context.Context, form Element) error {
	_, err := t.tell(ctx, form, "submit")
	return err
}

// Attach puts files into a file field.
func (t *Tab) Attach(ctx context.Context, e Element, paths ...string) error {
	object, err := t.object(ctx, e)
	if err != nil {
		return err
	}
	defer t.forget(ctx, object)
	_, err = command(ctx, t, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: paths, ObjectID: object})
	return err
}
