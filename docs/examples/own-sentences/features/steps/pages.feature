Feature: Pages

  @step
  Scenario: I should see site navigation
    Then there should be at least 1 element "nav.site-navigation a"

  @step
  Scenario: the status should show "<status>"
    Any page with a region called Status: by a heading, a label or an id.
    Then within "Status" I should see "<status>"
