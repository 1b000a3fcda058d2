# The minimum of a website: it answers, shows its text, and its links work. Replace www.example.org and the texts with
# yours.
@every:1m @warn:2s
Feature: Homepage

  Scenario: A visitor finds the contact page
    When I go to "https://www.example.org/"
    And I follow "Contact"
    Then I should see "Contact"
    And the page should load within 5s

  Scenario: Plain HTTP leads to HTTPS
    When I go to "http://www.example.org/"
    Then I should be on "https://www.example.org/"
