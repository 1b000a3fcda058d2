Feature: The website

  Scenario: The home page answers
    When I go to "https://example.org/"
    Then I should see "Example"
