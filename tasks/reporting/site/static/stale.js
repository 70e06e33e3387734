/* Read right after the banner: it stands before the rest of the page is drawn, so nothing moves down under a reader. */
"use strict";
(() => {
  const banner = document.getElementById("stale");
  const late = Date.now() - Date.parse(banner.dataset.staleAt);
  if (late <= 0) return;
  const age = Math.floor((Date.now() - Date.parse(banner.dataset.session + "T23:00:00Z")) / 86400000);
  const days = `${age.toLocaleString("en-US")} ${age === 1 ? "day" : "days"}`;
  banner.querySelector("b").textContent = `This page is stale: its forecast is ${days} old.`;
  banner.hidden = false;
})();
