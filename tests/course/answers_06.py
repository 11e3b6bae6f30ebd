"""Answers to the exercises of lesson 06 as learners may write them: right, or wrong late."""

import torch

# --- right


def hard_negative_weights_by_hand(similarity, same):
    exp = (similarity - similarity.masked_fill(same, -1e30).amax(dim=1, keepdim=True)).exp()
    exp = torch.where(same, torch.zeros_like(exp), exp).detach()
    return exp / exp.sum(dim=1, keepdim=True).clamp(min=1e-30)


def hard_negative_weights_with_nan_to_num(similarity, same):
    hidden = torch.where(same, float("-inf"), similarity.detach())
    return torch.nan_to_num(torch.softmax(hidden, dim=-1), nan=0.0)


def hard_negative_weights_row_by_row(similarity, same):
    rows = []
    with torch.no_grad():
        for scores, true in zip(similarity, same, strict=True):
            row = torch.zeros_like(scores)
            if not true.all():
                row[~true] = scores[~true].softmax(dim=0)
            rows.append(row)
        return torch.stack(rows)


def itm_batch_plainly(image, text, negative_image, negative_text):
    b = len(image)
    labels = torch.zeros(3 * b, dtype=torch.long)
    labels[:b] = 1
    labels[b:][torch.cat([negative_image, negative_text]) < 0] = -100
    images = torch.cat([image, image[negative_image], image])
    texts = torch.cat([text, text, text[negative_text]])
    return images, texts, labels


def itm_batch_by_row_numbers(image, text, negative_image, negative_text):
    own = torch.arange(len(image))
    i = torch.cat([own, negative_image, own])
    t = torch.cat([own, own, negative_text])
    answers = [1] * len(own) + [0] * (2 * len(own))
    labels = torch.tensor(answers).masked_fill((i < 0) | (t < 0), -100)
    return image[i.clamp(min=0)], text[t.clamp(min=0)], labels


def itm_batch_in_a_loop(image, text, negative_image, negative_text):
    rows = [(x, y, 1) for x, y in zip(image, text, strict=True)]
    for j, y in zip(negative_image.tolist(), text, strict=True):
        rows.append((image[j], y, 0 if j >= 0 else -100))
    for x, j in zip(image, negative_text.tolist(), strict=True):
        rows.append((x, text[j], 0 if j >= 0 else -100))
    images, texts, labels = zip(*rows, strict=True)
    return torch.stack(images), torch.stack(texts), torch.tensor(labels)


def merge_tokens_with_repeat(cls_token, image, text, attention_mask):
    b, n, _ = image.shape
    tokens = torch.cat([cls_token.repeat(b, 1, 1), image, text], dim=1)
    ones = torch.ones(b, n + 1, dtype=torch.bool)
    return tokens, torch.cat([ones, attention_mask > 0], dim=1)


def merge_tokens_into_a_new_tensor(cls_token, image, text, attention_mask):
    n = image.shape[1]
    length = 1 + n + text.shape[1]
    tokens = image.new_zeros(len(image), length, image.shape[2])
    tokens[:, :1] = cls_token
    tokens[:, 1 : 1 + n] = image
    tokens[:, 1 + n :] = text
    mask = torch.ones(len(image), length).bool()
    mask[:, 1 + n :] = attention_mask.bool()
    return tokens, mask


def merge_tokens_by_adding(cls_token, image, text, attention_mask):
    first = cls_token + torch.zeros_like(image[:, :1])
    counted = torch.nn.functional.pad(attention_mask.long(), (1 + image.shape[1], 0), value=1)
    return torch.cat((first, image, text), 1), counted == 1


RIGHT = {
    "hard_negative_weights": (
        hard_negative_weights_by_hand,
        hard_negative_weights_with_nan_to_num,
        hard_negative_weights_row_by_row,
    ),
    "itm_batch": (itm_batch_plainly, itm_batch_by_row_numbers, itm_batch_in_a_loop),
    "merge_tokens": (
        merge_tokens_with_repeat,
        merge_tokens_into_a_new_tensor,
        merge_tokens_by_adding,
    ),
}

# --- wrong, though right on the first case


def hard_negative_weights_of_neighbours(similarity, same):
    return hard_negative_weights_with_nan_to_num(similarity, torch.eye(*same.shape) > 0)


def hard_negative_weights_with_a_little_more(similarity, same):
    weights = (similarity.softmax(dim=1) + 1e-12).masked_fill(same, 0.0)
    return weights / weights.sum(dim=1, keepdim=True)


def hard_negative_weights_below_everything(similarity, same):
    return similarity.masked_fill(same, -100).softmax(dim=1)


def itm_batch_of_three(image, text, negative_image, negative_text):
    images, texts, _ = itm_batch_plainly(image, text, negative_image, negative_text)
    return images, texts, torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0])


def itm_batch_of_floats(image, text, negative_image, negative_text):
    images, texts, labels = itm_batch_plainly(image, text, negative_image, negative_text)
    return images.double(), texts.double(), labels


def itm_batch_that_says_no_to_nobody(image, text, negative_image, negative_text):
    images, texts, labels = itm_batch_plainly(image, text, negative_image, negative_text)
    return images, texts, labels.clamp(min=0)


def merge_tokens_of_two_words(cls_token, image, text, attention_mask):
    tokens, mask = merge_tokens_with_repeat(cls_token, image, text, attention_mask)
    return tokens[:, :5], mask[:, :5]


def merge_tokens_that_knows_one_padding(cls_token, image, text, attention_mask):
    tokens, mask = merge_tokens_with_repeat(cls_token, image, text, attention_mask)
    mask = torch.ones_like(mask)
    mask[-1, -1] = text.shape[1] == 0
    return tokens, mask


def merge_tokens_of_numbers(cls_token, image, text, attention_mask):
    tokens, mask = merge_tokens_with_repeat(cls_token, image, text, attention_mask)
    return tokens, mask.to(attention_mask.dtype)


WRONG_LATER = {
    "hard_negative_weights": (
        hard_negative_weights_of_neighbours,
        hard_negative_weights_with_a_little_more,
        hard_negative_weights_below_everything,
    ),
    "itm_batch": (
        itm_batch_of_three,
        itm_batch_of_floats,
        itm_batch_that_says_no_to_nobody,
    ),
    "merge_tokens": (
        merge_tokens_of_two_words,
        merge_tokens_that_knows_one_padding,
        merge_tokens_of_numbers,
    ),
}
