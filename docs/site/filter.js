/* A box above the data dictionary that leaves only the rows with the words that are typed. */
(function () {
  "use strict";
  var article = document.querySelector("article");
  if (!article || !/data_dictionary/.test(location.pathname)) return;
  var rows = article.querySelectorAll("table tbody tr");
  var box = document.createElement("input");
  box.type = "search";
  box.placeholder = "Filter series and features: palm, crush, ZLF24, EIA …";
  box.setAttribute("aria-label", "Filter the rows of the dictionary");
  box.className = "cbi-filter";
  var count = document.createElement("p");
  count.setAttribute("role", "status");
  var heading = article.querySelector("h1");
  heading.after(box, count);
  function show() {
    var words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0;
    rows.forEach(function (row) {
      var text = row.textContent.toLowerCase();
      var fits = words.every(function (word) { return text.indexOf(word) >= 0; });
      row.hidden = !fits;
      shown += fits;
    });
    article.querySelectorAll("table").forEach(function (table) {
      var wrapper = table.closest(".md-typeset__scrollwrap") || table;
      wrapper.hidden = words.length > 0 && !table.querySelector("tbody tr:not([hidden])");
    });
    count.textContent = words.length ? shown + " of " + rows.length + " rows" : rows.length + " rows";
  }
  box.addEventListener("input", show);
  show();
})();
