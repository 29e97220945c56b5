import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { escapeHtml, html, scriptJson } from './html.ts'

test('values are text, in elements and in attributes, and only Html is markup', () => {
  const evil = `"><script>alert('x')</script>&amp;`
  assert.equal(
    html`<p title="${evil}">${evil}${html`<b>${1}</b>`}${['<', undefined, html`<i></i>`]}</p>`.toString(),
    '<p title="&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;">&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;<b>1</b>&lt;<i></i></p>',
  )
})

test('what would hide or reorder text is shown by its number', () => {
  assert.equal(escapeHtml('a\u202eb\u0000c\ufeffd\u061ce\ud800f'), 'a\\u202eb\\u0000c\\ufeffd\\u061ce\\ud800f')
  assert.equal(escapeHtml('文件 😀\n'), '文件 😀\n')
})

test('no text, whatever it is, can open an element or leave an attribute', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      assert.doesNotMatch(escapeHtml(text), /[<>"']/)
      assert.doesNotMatch(scriptJson({ [text]: text }).toString(), /[<>&]/)
      assert.deepEqual(JSON.parse(scriptJson({ [text]: text }).toString()), { [text]: text })
    }),
  )
})
