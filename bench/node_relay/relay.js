// A telephone voice relay as samples usually write it: JSON in, JSON out, a mark after every delta.
//
// It is a yardstick for `python -m server bench`, not a product: no signature, no token, no voice
// detection, no pacing, no limits. PORT, OPENAI_REALTIME_URL and OPENAI_API_KEY are its settings.
'use strict';

const http = require('node:http');
const { WebSocket, WebSocketServer } = require('ws');

const { PORT, OPENAI_REALTIME_URL, OPENAI_API_KEY } = process.env;

const server = http.createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/webhook/incoming_call') {
    request.resume();
    response.setHeader('Content-Type', 'text/xml');
    response.end(
      '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>' +
        `<Stream url="wss://${request.headers.host}/media-stream"/></Connect></Response>`,
    );
    return;
  }
  response.end('ok\n');
});

function serveCall(caller) {
  let streamSid = null;
  let latestMediaTimestamp = 0;
  let responseStartedAt = null;
  let lastItem = null;
  let marks = [];

  const model = new WebSocket(OPENAI_REALTIME_URL, {
    headers: { Authorization: `Bearer ${OPENAI_API_KEY}` },
  });
  const toModel = (event) => {
    if (model.readyState === WebSocket.OPEN) model.send(JSON.stringify(event));
  };

  model.on('open', () => {
    toModel({
      type: 'session.update',
      session: {
        type: 'realtime',
        output_modalities: ['audio'],
        instructions: 'Answer briefly.',
        audio: {
          input: { format: { type: 'audio/pcmu' }, turn_detection: { type: 'server_vad' } },
          output: { format: { type: 'audio/pcmu' }, voice: 'marin' },
        },
      },
    });
    toModel({ type: 'response.create', response: { instructions: 'Greet the caller.' } });
  });

  model.on('message', (data) => {
    const event = JSON.parse(data);
    if (event.type === 'response.output_audio.delta') {
      caller.send(JSON.stringify({ event: 'media', streamSid, media: { payload: event.delta } }));
      if (responseStartedAt === null) responseStartedAt = latestMediaTimestamp;
      lastItem = event.item_id;
      caller.send(JSON.stringify({ event: 'mark', streamSid, mark: { name: 'responsePart' } }));
      marks.push('responsePart');
    } else if (event.type === 'input_audio_buffer.speech_started') {
      bargeIn();
    }
  });

  function bargeIn() {
    if (marks.length === 0 || responseStartedAt === null) return;
    if (lastItem !== null) {
      toModel({
        type: 'conversation.item.truncate',
        item_id: lastItem,
        content_index: 0,
        audio_end_ms: latestMediaTimestamp - responseStartedAt,
      });
    }
    caller.send(JSON.stringify({ event: 'clear', streamSid }));
    marks = [];
    lastItem = null;
    responseStartedAt = null;
  }

  caller.on('message', (data) => {
    const message = JSON.parse(data);
    switch (message.event) {
      case 'media':
        latestMediaTimestamp = Number(message.media.timestamp);
        toModel({ type: 'input_audio_buffer.append', audio: message.media.payload });
        break;
      case 'start':
        streamSid = message.start.streamSid;
        break;
      case 'mark':
        marks.shift();
        break;
      default:
        break;
    }
  });

  caller.on('close', () => model.close());
  caller.on('error', () => model.close());
  model.on('close', () => caller.close());
  model.on('error', () => caller.close());
}

new WebSocketServer({ server, path: '/media-stream' }).on('connection', serveCall);
server.listen(Number(PORT), '127.0.0.1');
