/* A document for people, as one HTML file or as Markdown: headings, tables, code, what can be
 * folded. Every text that goes in is escaped. */
#ifndef OG_DAEMON_BOOK_H
#define OG_DAEMON_BOOK_H

#include "fhir/base/text.h"

typedef struct book {
    og_buf *out;
    bool html;
    size_t cells; /* of the row under way */
} book;

void book_begin(book *b, og_str title);
void book_end(book *b);

/* A part that begins on a page of its own when it is printed; anchor may be NULL. */
void book_page(book *b, const char *anchor, og_str title);
void book_page_end(book *b);
/* Where links lead to, between other things. */
void book_anchor(book *b, const char *anchor);
/* level 2 to 4. */
void book_heading(book *b, int level, og_str text);
/* A paragraph; quiet: smaller and grey, for what accompanies. Nothing when the text is empty. */
void book_text(book *b, og_str text);
void book_quiet(book *b, og_str text);
/* "label: text" */
void book_field(book *b, const char *label, og_str text);
void book_code(book *b, const char *anchor, og_str text);
/* Markdown as a card's detail has it: paragraphs, headings of level 3, tables. */
void book_markdown(book *b, og_str text);
/* What is folded away on the screen, and printed in full. */
void book_fold_begin(book *b, og_str title);
/* What only a screen needs: lists of links. */
void book_screen_begin(book *b, og_str title);
void book_fold_end(book *b);

/* A table: heads, then cells row by row, NULL-terminated heads. */
void book_table_begin(book *b, const char *const *heads);
void book_row_begin(book *b);
void book_cell(book *b, og_str text);
void book_cell_link(book *b, const char *anchor, og_str text);
void book_row_end(book *b);
void book_table_end(book *b);

/* A list of links within the document. */
void book_links_begin(book *b);
void book_link(book *b, const char *anchor, og_str text, og_str note);
void book_links_end(book *b);

/* Lines to be filled in by hand. */
void book_signatures(book *b);

#endif
